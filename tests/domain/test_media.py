"""Files: which types there are, what proves them, how large they may be in which field, how a request names one."""

from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.files import GENUINE, png, zipped
from worker.domain import media
from worker.domain.errors import InvalidRequest
from worker.domain.file_type import check_type
from worker.domain.media import KB, MB

PDF = b"%PDF-1.7\n"
SOME_ID = UUID("5a0079be-e54e-486c-b3cc-9495f18fc309")


@pytest.mark.parametrize("mime_type", media.MIME_TYPES)
def test_every_type_is_known_by_the_bytes_that_its_files_begin_with(mime_type: str) -> None:
    for content in GENUINE[mime_type]:
        check_type(mime_type, content)


@pytest.mark.parametrize(
    ("mime_type", "content"),
    [
        ("image/png", PDF),
        ("image/png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("image/jpeg", png()),
        ("image/webp", b"RIFF\x20\0\0\0WAVEfmt " + bytes(60)),
        ("video/mp4", b"\0\0\0\x20ftypqt  " + bytes(60)),
        ("video/mp4", b"\0\0\0\x20ftypheic" + bytes(60)),
        ("video/3gpp", b"\0\0\0\x20ftypisom" + bytes(60)),
        ("audio/mpeg", b"OggS" + bytes(60)),
        ("audio/ogg", b"\xff\xfb\x90\x64" + bytes(60)),
        ("application/pdf", b"MZ" + bytes(200)),
        ("application/zip", b"\x7fELF" + bytes(60)),
        ("application/msword", zipped("word/document.xml")),
        ("text/plain", b"\xff\xfe\x00"),
        ("text/csv", b"a,b\x00c"),
        ("image/png", b"?"),
    ],
)
def test_a_file_that_is_not_what_it_is_said_to_be_is_refused(mime_type: str, content: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_type(mime_type, content)
    assert refused.value.code == "media_mismatch"


@given(st.sampled_from(media.MIME_TYPES), st.binary(max_size=300))
def test_whatever_the_bytes_are_the_answer_is_yes_or_a_refusal(mime_type: str, content: bytes) -> None:
    with suppress(InvalidRequest):
        check_type(mime_type, content)


@pytest.mark.parametrize(
    ("declared", "mime_type"),
    [
        ("image/jpg", "image/jpeg"),
        ("Text/Plain; charset=utf-8", "text/plain"),
        ("audio/ogg; codecs=opus", "audio/ogg"),
    ],
)
def test_other_spellings_of_a_type_are_understood(declared: str, mime_type: str) -> None:
    assert media.known_type(declared) == mime_type


@pytest.mark.parametrize("declared", ["", "image/gif", "text/html", "image/svg+xml", "application/octet-stream", "x"])
def test_what_whatsapp_does_not_take_is_refused_by_its_type(declared: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        media.known_type(declared)
    assert refused.value.code == "unsupported_media_type"


@pytest.mark.parametrize(
    ("mime_type", "size", "fields"),
    [
        ("image/png", 5 * MB, ("image_url", "document_url")),
        ("image/jpeg", 5 * MB + 1, ("document_url",)),
        ("video/mp4", 16 * MB, ("video_url", "document_url")),
        ("audio/ogg", 16 * MB, ("audio_url", "document_url")),
        ("image/webp", 100 * KB, ("sticker_url", "document_url")),
        ("image/webp", 100 * KB + 1, ("document_url",)),
        ("image/webp", 5 * MB + 1, ()),
        ("application/pdf", 16 * MB, ("document_url",)),
        ("application/pdf", 16 * MB + 1, ()),
    ],
)
def test_the_smaller_of_the_gateways_limits_decides_where_a_file_fits(
    mime_type: str, size: int, fields: tuple[str, ...]
) -> None:
    assert media.fields_for(mime_type, size) == fields
    for field in media.MEDIA_FIELDS:
        refused = media.refusal(field, mime_type, size)
        assert (refused is None) == (field in fields)
    if fields:
        media.check_size(mime_type, size)
    else:
        with pytest.raises(InvalidRequest, match="may have") as refused_at_all:
            media.check_size(mime_type, size)
        assert refused_at_all.value.code == "media_too_large"


def test_a_refusal_tells_a_wrong_kind_from_a_wrong_size() -> None:
    wrong_kind = media.refusal("image_url", "application/pdf", 1)
    too_large = media.refusal("sticker_url", "image/webp", 101 * KB)
    assert wrong_kind is not None
    assert too_large is not None
    assert (wrong_kind.code, too_large.code) == ("wrong_media_kind", "media_too_large")
    assert "image/jpeg, image/png" in wrong_kind.message
    assert "100 kB" in too_large.message
    with pytest.raises(InvalidRequest) as empty:
        media.check_size("image/png", 0)
    assert empty.value.code == "empty_file"


@given(st.uuids())
def test_a_reference_names_one_file_however_it_is_spelled(file: UUID) -> None:
    assert media.media_id(media.url_of(file)) == file
    assert media.media_id(f"MEDIA:{str(file).upper()}") == file


@pytest.mark.parametrize(
    "other",
    [None, 7, "", "media:", "media:7", f"media:{SOME_ID} ", f" media:{SOME_ID}", f"https://a/media:{SOME_ID}"],
)
def test_everything_else_is_no_reference(other: object) -> None:
    assert media.media_id(other) is None
