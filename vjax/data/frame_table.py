"""Tables of frame positions in ArrayRecord files, so that a clip reads only the bytes of its own frames.

ArrayRecord always reads complete records: 2 MB for a video of ten seconds, of which a clip needs 110 KB. In an
uncompressed file the bytes of a record are contiguous, except that every block of 64 KiB starts with a header of 24
bytes (this is the format of Riegeli, on which ArrayRecord is built). This module relies on nothing else in the format,
and `write_table` raises an error if it cannot find a frame in this way.
"""

import dataclasses
import os
import zlib
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from vjax.data import jpeg
from vjax.data.decode import VideoError
from vjax.data.records import parse_record

TABLE_ENDING = ".frames"
# The table entry of one frame; `start` is a byte position that does not count block headers.
ENTRY = np.dtype([("start", "<u8"), ("size", "<u4"), ("crc", "<u4")])
_BLOCK, _HEADER = 1 << 16, 24
_BODY = _BLOCK - _HEADER


def write_table(records: Path, table: Path) -> None:
    """Writes the table of a file of records: an `ENTRY` for each frame of each record, in file order.

    Raises:
      ValueError: a frame's bytes are not found in the file, for example because the file is compressed.
    """
    reader = ArrayRecordReader(str(records))
    start = 0
    with records.open("rb") as file, table.open("wb") as out:
        for position in range(reader.num_records()):
            frames = parse_record(reader.read([position])[0])["frames"]
            entries = np.empty(len(frames), ENTRY)
            for index, frame in enumerate(frames):
                start = _find(file.fileno(), frame, start)
                if start < 0:
                    raise ValueError(f"{records}: frame {index} of record {position} is not stored unchanged")
                entries[index] = start, len(frame), zlib.crc32(frame)
                start += len(frame)
            out.write(entries.tobytes())
    reader.close()


@dataclasses.dataclass(frozen=True)
class FrameReader:
    """Reads frames of one video from a file of records with a frame table; can be sent to a worker process.

    Attributes:
      records: path of the file of records.
      table: path of the frame table.
      first: index of the video's first entry in the table.
      num_frames: number of frames in the video.
      name: name of the video, for messages.
    """

    records: str
    table: str
    first: int
    num_frames: int
    name: str

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Returns the frames `(t h w c)` at frame indices `(t)`."""
        try:
            return jpeg.decode_frames(self.read_encoded(indices))
        except (ValueError, IndexError) as error:
            raise VideoError(f"{self.name}: its record is damaged ({error}); prepare the dataset again") from error
        except OSError as error:
            raise VideoError(f"{self.name}: its record cannot be read ({error})") from error

    def read_encoded(self, indices: np.ndarray) -> list[bytes]:
        """Returns the JPEG bytes of the frames at frame indices `(t)`, after verifying their checksums.

        Raises:
          IndexError: a frame index is out of range.
          ValueError: the file of records or its table has changed since it was written.
        """
        lowest, highest = int(indices.min()), int(indices.max())
        if lowest < 0 or highest >= self.num_frames:
            raise IndexError(f"frame {lowest if lowest < 0 else highest} is out of range for {self.num_frames} frames")
        # The table gives position, size and checksum of each frame, the file of records gives its bytes.
        # Files are opened for each clip: this takes 10 microseconds, and thousands of shards need not stay open.
        with open(self.table, "rb", buffering=0) as table, open(self.records, "rb", buffering=0) as records:
            size = (highest - lowest + 1) * ENTRY.itemsize
            content = os.pread(table.fileno(), size, (self.first + lowest) * ENTRY.itemsize)
            if len(content) < size:
                raise ValueError("its frame table is cut off")
            entries = np.frombuffer(content, ENTRY)[indices - lowest]
            length = os.fstat(records.fileno()).st_size
            frames = []
            for index, (start, size, crc) in zip(indices, entries.tolist(), strict=True):
                frame = _read(records.fileno(), start, size) if start + size <= length else b""
                if not frame or zlib.crc32(frame) != crc:
                    raise ValueError(f"frame {index} is not what was written")
                frames.append(frame)
        return frames


def _read(descriptor: int, start: int, size: int) -> bytes:
    """Returns `size` bytes of a file without its block headers; fewer at the end of the file."""
    first, last = start // _BODY, (start + size - 1) // _BODY
    content = os.pread(descriptor, size + _HEADER * (last - first), start + _HEADER * (first + 1))
    if first == last:
        return content
    cut = (first + 1) * _BODY - start
    return content[:cut] + b"".join(content[at : at + _BODY] for at in range(cut + _HEADER, len(content), _BLOCK))


def _find(descriptor: int, frame: bytes, start: int) -> int:
    """Returns the position of a frame at or after `start`, or -1 if it is not found."""
    size = len(frame) + _BLOCK  # between two frames are only a few bytes, or names, paths and headers of records
    while True:
        content = _read(descriptor, start, size)
        found = content.find(frame)
        if found >= 0:
            return start + found
        if len(content) < size:
            return -1
        size *= 2
