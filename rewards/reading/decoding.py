"""The text of a file: unpacked, decoded, and refused in words where it cannot be read."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

# Longer marks first: that of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_FOREIGN = {
    b"PAR1": "holds Parquet: let its name end in .parquet",
    b"PK\x03\x04": "is a ZIP archive or a spreadsheet: unpack it, or save it as CSV",
    b"\x28\xb5\x2f\xfd": "is packed with zstd: unpack it with zstd -d",
    b"BZh": "is packed with bzip2: unpack it with bunzip2",
    b"\xfd7zXZ": "is packed with xz: unpack it with unxz",
    b"ARROW1": "is an Arrow file: give the folder that save_to_disk wrote, or convert it to Parquet",
    b"version https://git-lfs": "is a pointer of Git LFS and not the data: fetch the file with git lfs pull",
}


def check_format(data: bytes, path: Path, wanted: bytes = b"") -> None:
    """Refuse the beginning of a file that is empty or of another format, except `wanted`.

    Raises:
        ValueError: with what it is and what to do.
    """
    if not data:
        raise ValueError(f"{path} is empty and has no rows: write them, or name another file")
    for magic, what in _FOREIGN.items():
        if data.startswith(magic) and magic != wanted:
            raise ValueError(f"{path} {what}")


def read_text(path: Path) -> str:
    r"""The text of a file with its line ends as ``\n``: unpacked where it is gzip, whatever its name, and decoded as
    UTF-8, or as UTF-16 or UTF-32 where a byte order mark says so.

    Raises:
        ValueError: an empty file, damaged gzip, another format, or bytes that are no text, with their line.
    """
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged gzip ({error}): copy or download the file again") from error
    check_format(data, path)
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not {encoding.upper()}. Convert the file, for "
            f"example with: iconv -f latin1 -t utf-8 {path.name} > utf8_{path.name}"
        ) from error
    check_format(text.strip()[:1].encode(), path)
    text = text.replace("\r\n", "\n")
    return text if "\n" in text else text.replace("\r", "\n")
