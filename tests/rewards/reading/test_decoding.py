"""Files as they come: packed, with marks, in other encodings, damaged, or of another format."""

import gzip

import pytest

from rewards.reading.decoding import read_text

ROW = '{"problem": "é"}\n'


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (ROW.encode(), ROW),
        (b"\xef\xbb\xbf" + ROW.encode(), ROW),
        (ROW.encode("utf-16"), ROW),
        (ROW.encode("utf-32"), ROW),
        (gzip.compress(ROW.encode("utf-8-sig"), mtime=0), ROW),
        (ROW.replace("\n", "\r\n").encode(), ROW),
        (ROW.replace("\n", "\r").encode(), ROW),
        ("a\u2028b".encode(), "a\u2028b"),
    ],
)
def test_text_is_read_right(tmp_path, data, text):
    (tmp_path / "rows.jsonl").write_bytes(data)  # the name does not say that it is packed
    assert read_text(tmp_path / "rows.jsonl") == text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "rows.jsonl is empty"),
        (b" \n\n", "rows.jsonl is empty"),
        (b"a\n" + ROW.encode("latin1"), "rows.jsonl, line 2: byte 0xe9 is not UTF-8.*iconv -f latin1 -t utf-8"),
        (gzip.compress(ROW.encode() * 99, mtime=0)[:-9], "damaged gzip.*copy or download"),
        (b"\x1f\x8b\x08 nothing", "damaged gzip"),
        (b"PAR1", "end in .parquet"),
        (b"PK\x03\x04", "save it as CSV"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"BZh9", "bunzip2"),
    ],
)
def test_what_is_no_text_is_refused_with_the_fix(tmp_path, data, message):
    (tmp_path / "rows.jsonl").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path / "rows.jsonl")
