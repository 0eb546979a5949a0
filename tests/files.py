"""Small files of the types that WhatsApp takes, true to their first bytes."""

import io
import struct
import zipfile
import zlib


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(color: int = 0) -> bytes:
    """One pixel; another colour is another file."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixel = zlib.compress(bytes([0, color]))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixel) + _chunk(b"IEND", b"")


def zipped(name: str, content: str = "") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


_OFFICE = "application/vnd.openxmlformats-officedocument"
_OPEN = "application/vnd.oasis.opendocument"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
_REST = bytes(60)

#: Type → files that are of it.
GENUINE: dict[str, tuple[bytes, ...]] = {
    "image/png": (png(),),
    "image/jpeg": (
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + _REST,
        b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00" + _REST,
        b"\xff\xd8\xff\xdb\x00\x43" + _REST,
    ),
    "image/webp": (b"RIFF\x20\0\0\0WEBPVP8 " + _REST, b"RIFF\x20\0\0\0WEBPVP8X" + _REST),
    "video/mp4": tuple(b"\0\0\0\x20ftyp" + brand + _REST for brand in (b"isom", b"mp42", b"avc1", b"iso5", b"M4V ")),
    "video/3gpp": tuple(b"\0\0\0\x18ftyp" + brand + _REST for brand in (b"3gp4", b"3gp5", b"3g2a")),
    "audio/mpeg": (b"ID3\x04\0\0\0\0\0\0" + _REST, b"\xff\xfb\x90\x64" + _REST, b"\xff\xf3\x90\x64" + _REST),
    "audio/ogg": (b"OggS\0\2" + bytes(22) + b"\x01\x13OpusHead" + _REST,),
    "audio/aac": (b"\xff\xf1\x50\x80" + _REST, b"\xff\xf9\x50\x80" + _REST),
    "audio/amr": (b"#!AMR\n" + _REST,),
    "application/pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",),
    "application/rtf": (b"{\\rtf1\\ansi Hello}",),
    "application/zip": (zipped("a.txt", "Hello"),),
    "application/msword": (_OLE,),
    "application/vnd.ms-excel": (_OLE,),
    "application/vnd.ms-powerpoint": (_OLE,),
    f"{_OFFICE}.wordprocessingml.document": (zipped("[Content_Types].xml"), zipped("word/document.xml")),
    f"{_OFFICE}.spreadsheetml.sheet": (zipped("[Content_Types].xml"),),
    f"{_OFFICE}.presentationml.presentation": (zipped("[Content_Types].xml"),),
    f"{_OPEN}.text": (zipped("mimetype", f"{_OPEN}.text"),),
    f"{_OPEN}.spreadsheet": (zipped("mimetype", f"{_OPEN}.spreadsheet"),),
    f"{_OPEN}.presentation": (zipped("mimetype", f"{_OPEN}.presentation"),),
    "text/plain": ("नमस्ते 👋".encode(), b"Hello"),
    "text/csv": (b"name;phone\r\nAsha;+917033009600\r\n",),
}
