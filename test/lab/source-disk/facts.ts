/** What a test needs to know of a source disk; kept beside it in the cache. */
import Type, { type Static } from 'typebox';

export const SourceFacts = Type.Object({
  kind: Type.Union([Type.Literal('bios'), Type.Literal('uefi')]),
  /** Of the machine's Ed25519 SSH host key, as ssh-keygen prints it. */
  hostKeyFingerprint: Type.String(),
  /** Static IPv4 address of the machine's own system. */
  address: Type.String(),
  hostName: Type.String(),
  /** SHA-256, hex, of /srv/data/MANIFEST.sha256. */
  manifestSha256: Type.String(),
  /** Name that the machine's own system gives its NIC. */
  nicName: Type.String(),
  /** Used bytes of the root file system. */
  usedBytes: Type.Integer(),
});
export type SourceFacts = Static<typeof SourceFacts>;
