/**
 * Every number of the NBD protocol that Rehost uses, and the private extensions. No logic.
 * Source: the public protocol document, https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
 * All integers on the wire are big-endian.
 */

/** "NBDMAGIC" */
export const NBD_INIT_MAGIC = 0x4e42444d41474943n;
/** "IHAVEOPT" */
export const NBD_OPTION_MAGIC = 0x49484156454f5054n;
export const NBD_OPTION_REPLY_MAGIC = 0x0003e889045565a9n;
export const NBD_REQUEST_MAGIC = 0x25609513;
export const NBD_SIMPLE_REPLY_MAGIC = 0x67446698;
export const NBD_STRUCTURED_REPLY_MAGIC = 0x668e33ef;

export const NBD_FLAG_FIXED_NEWSTYLE = 1 << 0;
export const NBD_FLAG_NO_ZEROES = 1 << 1;

export const NBD_OPT_EXPORT_NAME = 1;
export const NBD_OPT_ABORT = 2;
export const NBD_OPT_LIST = 3;
export const NBD_OPT_STARTTLS = 5;
export const NBD_OPT_INFO = 6;
export const NBD_OPT_GO = 7;
export const NBD_OPT_STRUCTURED_REPLY = 8;
export const NBD_OPT_LIST_META_CONTEXT = 9;
export const NBD_OPT_SET_META_CONTEXT = 10;

export const NBD_REP_ACK = 1;
export const NBD_REP_SERVER = 2;
export const NBD_REP_INFO = 3;
export const NBD_REP_META_CONTEXT = 4;
export const NBD_REP_FLAG_ERROR = 0x80000000;
export const NBD_REP_ERR_UNSUP = 0x80000001;
export const NBD_REP_ERR_INVALID = 0x80000003;
export const NBD_REP_ERR_TLS_REQD = 0x80000005;
export const NBD_REP_ERR_UNKNOWN = 0x80000006;
export const NBD_REP_ERR_TOO_BIG = 0x80000009;

export const NBD_INFO_EXPORT = 0;
export const NBD_INFO_BLOCK_SIZE = 3;

export const NBD_TFLAG_HAS_FLAGS = 1 << 0;
export const NBD_TFLAG_READ_ONLY = 1 << 1;
export const NBD_TFLAG_SEND_DF = 1 << 7;
export const NBD_TFLAG_CAN_MULTI_CONN = 1 << 8;

export const NBD_CMD_READ = 0;
export const NBD_CMD_WRITE = 1;
export const NBD_CMD_DISC = 2;
export const NBD_CMD_TRIM = 4;
export const NBD_CMD_WRITE_ZEROES = 6;
export const NBD_CMD_BLOCK_STATUS = 7;
export const NBD_CMD_FLAG_DF = 1 << 2;
export const NBD_CMD_FLAG_REQ_ONE = 1 << 3;

export const NBD_REPLY_FLAG_DONE = 1 << 0;
export const NBD_REPLY_TYPE_NONE = 0;
export const NBD_REPLY_TYPE_OFFSET_DATA = 1;
export const NBD_REPLY_TYPE_OFFSET_HOLE = 2;
export const NBD_REPLY_TYPE_BLOCK_STATUS = 5;
export const NBD_REPLY_TYPE_FLAG_ERROR = 1 << 15;
export const NBD_REPLY_TYPE_ERROR = 0x8001;
export const NBD_REPLY_TYPE_ERROR_OFFSET = 0x8002;

export const NBD_STATE_HOLE = 1 << 0;
export const NBD_STATE_ZERO = 1 << 1;
export const NBD_CONTEXT_BASE_ALLOCATION = 'base:allocation';

export const NBD_EPERM = 1;
export const NBD_EIO = 5;
export const NBD_EINVAL = 22;
export const NBD_EOVERFLOW = 75;

/** The protocol's limit of any string (export name, context name), bytes. */
export const NBD_MAX_STRING = 4096;
/** Bound of one option's payload that Rehost accepts, bytes: an export name, and room for a list of contexts. */
export const NBD_MAX_OPTION_BYTES = 16 * 1024;
/** Options a client may send before it must have chosen an export; an endless negotiation is refused. */
export const NBD_MAX_OPTIONS = 64;
/** The largest READ that Rehost sends and serves, bytes. nbdcopy and qemu-img send up to 32 MiB where the server does not say less. */
export const NBD_MAX_READ_BYTES = 32 * 1024 * 1024;

/** Private extensions, negotiated by options of our own ("RH" in the upper half; any standard peer answers ERR_UNSUP and never sees them). */
/** After it every READ's reply ends with a hash, and the chunks of a reply come in ascending order with no other reply's between them. */
export const REHOST_OPT_HASHES = 0x52480001;
/** After it, and after REHOST_OPT_HASHES, data may come compressed. */
export const REHOST_OPT_ZSTD = 0x52480002;
/**
 * Private reply chunk, only after REHOST_OPT_HASHES was acknowledged, last in every READ's reply:
 * u64 offset, u32 length, 16 bytes XXH3-128 (canonical, big-endian) over the whole range as it was read from the disk, holes as zeros.
 */
export const REHOST_REPLY_TYPE_HASH = 0x5248;
/**
 * Private reply chunk, only after REHOST_OPT_ZSTD was acknowledged: u64 offset, u32 length of the content (at most STEP_BYTES), and one
 * zstd frame, smaller than the content, that holds exactly that much.
 */
export const REHOST_REPLY_TYPE_ZSTD = 0x5249;
/** Private command, only after REHOST_OPT_HASHES was acknowledged: like READ of at most BLOCK_BYTES, answered by the hash alone. */
export const REHOST_CMD_HASH = 0x5248;
export const REHOST_HASH_BYTES = 16;
