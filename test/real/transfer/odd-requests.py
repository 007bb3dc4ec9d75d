"""Requests that no well-behaved client sends, by libnbd with its own checks switched off. Arguments: URI, the disk's file. Exits with 0 when all is as it should be."""

import errno
import random
import sys

import nbd

uri, path = sys.argv[1:]
with open(path, "rb") as file:
    disk = file.read()
size = len(disk)
h = nbd.NBD()
h.set_uri_allow_local_file(True)
h.set_strict_mode(0)
h.add_meta_context("base:allocation")
h.connect_uri(uri)
assert h.get_size() == size
random.seed(1)


def still_serves():
    offset = random.randrange(size - 13)
    assert h.pread(13, offset) == disk[offset : offset + 13]


def refused(expected, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except nbd.Error as error:
        assert error.errnum == expected, (call.__name__, arguments, error.errnum, error.string)
    else:
        raise AssertionError((call.__name__, arguments, "was not refused"))
    still_serves()


def nothing(*_):
    return 0


# Nothing at all, beyond the end, across it, far beyond it.
for length, offset in [(0, 0), (0, size), (1, size), (512, size - 511), (1, 2**62), (32 * 2**20, size - 1)]:
    refused(errno.EINVAL, h.pread, length, offset)
    refused(errno.EINVAL, h.block_status, length, offset, nothing)
refused(errno.EINVAL, h.pread, 32 * 2**20 + 1, 0)
# What was not offered.
refused(errno.EPERM, h.pwrite, b"x" * 512, 0)
refused(errno.EPERM, h.pwrite, b"", 0)
refused(errno.EPERM, h.pwrite, b"x" * 2**20, size - 1)
refused(errno.EPERM, h.trim, 4096, 0)
refused(errno.EPERM, h.zero, 4096, 0)
refused(errno.EINVAL, h.flush)
refused(errno.EINVAL, h.cache, 4096, 0)
refused(errno.EINVAL, h.pread, 4096, 0, nbd.CMD_FLAG_FUA)
refused(errno.EINVAL, h.block_status, 4096, 0, nothing, nbd.CMD_FLAG_DF)
# In one piece: up to a bound.
refused(errno.EOVERFLOW, h.pread_structured, 2**20 + 1, 0, nothing, nbd.CMD_FLAG_DF)
pieces = []
h.pread_structured(2**20, 777, lambda data, offset, status, error: pieces.append(len(data)), nbd.CMD_FLAG_DF)
assert pieces == [2**20], pieces
# Any byte of the disk, any length; the first and the last.
for offset, length in [(0, 1), (size - 1, 1), (size - 4097, 4097), (0, min(size, 32 * 2**20))]:
    assert h.pread(length, offset) == disk[offset : offset + length], (offset, length)
for _ in range(300):
    offset = random.randrange(size)
    length = min(size - offset, random.choice([1, 511, 512, 513, 4095, 4096, 65537, 300_000]))
    assert h.pread(length, offset) == disk[offset : offset + length], (offset, length)
# Many at once, bad ones among them.
flying = []
for number in range(200):
    offset = random.randrange(size) if number % 5 else size
    length = max(1, min(size - offset, random.randrange(1, 100_000)))
    buffer = nbd.Buffer(length)
    flying.append((h.aio_pread(buffer, offset), buffer, offset, length))
    if len(flying) >= 64 or number == 199:
        for cookie, buffer, offset, length in flying:
            while True:
                try:
                    if h.aio_command_completed(cookie):
                        break
                except nbd.Error as error:
                    assert offset == size and error.errnum == errno.EINVAL
                    break
                h.poll(-1)
            else:
                continue
            if offset < size:
                assert bytes(buffer.to_bytearray()) == disk[offset : offset + length]
        flying = []
still_serves()
h.shutdown()
