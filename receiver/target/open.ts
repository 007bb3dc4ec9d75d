/** From a target's name to an open target. */
import { BlockDeviceTarget } from './block-device.ts';
import { NullTarget } from './null.ts';
import type { Target, TargetSpec } from './target.ts';

/** Opens for this thread; the caller closes. TARGET_WRITE_FAILED when it cannot be opened. */
export function openTarget(spec: TargetSpec): Target {
  return spec.kind === 'device'
    ? new BlockDeviceTarget(spec.path, spec.readOnly ?? false)
    : new NullTarget(spec.sizeBytes);
}
