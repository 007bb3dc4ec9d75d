/** Every program of the transfer image that the conversion calls, by name: the image's recipe brings exactly these. */
export const CONVERT_TOOLS = [
  // Devices and file systems. blkid is util-linux's: the format `udev` is asked for.
  'blkid',
  'blockdev',
  'mount',
  'umount',
  'sync',
  'e2fsck',
  'xfs_repair',
  'btrfs',
  'fsck.vfat',
  // The guest's own update-initramfs. unshare is util-linux's: --kill-child is asked for. capsh is libcap's.
  'unshare',
  'capsh',
  'sh',
  'mknod',
  'ln',
  'mkdir',
  // Initramfs compressions that Node does not know. Busybox's unxz, bunzip2 and unlzma are called by these names too.
  'xz',
  'bzip2',
  'lzma',
  'lz4',
] as const;

/** A program of the transfer image. */
export type ConvertTool = (typeof CONVERT_TOOLS)[number];
