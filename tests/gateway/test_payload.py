"""Stored content becomes the body that WaSender documents for its kind."""

import json

import pytest

from worker.domain.errors import InvalidRequest
from worker.gateway.payload import build_payload


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ({"text": "नमस्ते 👋"}, {"text": "नमस्ते 👋"}),
        (
            {"image_url": "https://a/b.png", "text": "Look", "view_once": True},
            {"imageUrl": "https://a/b.png", "text": "Look", "viewOnce": True},
        ),
        ({"video_url": "https://a/b.mp4"}, {"videoUrl": "https://a/b.mp4"}),
        (
            {"document_url": "https://a/b.pdf", "file_name": "Bill.pdf"},
            {"documentUrl": "https://a/b.pdf", "fileName": "Bill.pdf"},
        ),
        ({"audio_url": "https://a/b.ogg"}, {"audioUrl": "https://a/b.ogg"}),
        ({"sticker_url": "https://a/b.webp"}, {"stickerUrl": "https://a/b.webp"}),
        ({"contact": {"name": "A", "phone": "+911"}}, {"contact": {"name": "A", "phone": "+911"}}),
        (
            {"location": {"latitude": 1.5, "longitude": -2, "name": "Here"}},
            {"location": {"latitude": 1.5, "longitude": -2, "name": "Here"}},
        ),
        (
            {"poll": {"question": "?", "options": ["a", "b"], "multi_select": True}},
            {"poll": {"question": "?", "options": ["a", "b"], "multiSelect": True}},
        ),
        (
            {"text": "@you", "mentions": ["9715@s.whatsapp.net"], "reply_to": 58224349, "image_url": None},
            {"text": "@you", "mentions": ["9715@s.whatsapp.net"], "replyTo": 58224349},
        ),
    ],
)
def test_each_kind_of_content_has_its_field(content: dict[str, object], body: dict[str, object]) -> None:
    assert json.loads(build_payload("+917033009600", content)) == {"to": "+917033009600", **body}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({}, "no_content"),
        ({"text": None}, "no_content"),
        ({"file_name": "a.pdf"}, "no_content"),
        ({"image_url": "a", "video_url": "b"}, "two_contents"),
        ({"text": "a", "imageUrl": "b"}, "unknown_content"),
        ({"text": float("nan")}, "unwritable_content"),
        ({"text": "\ud800"}, "unwritable_content"),
        ({"text": object()}, "unwritable_content"),
        ({"image_url": "media:019aa7b2-7c11-4d5e-8f00-2b6d1c3e4a5f"}, "unresolved_content"),
        ({"text": "a", "reply_to": "019aa7b2-7c11-4d5e-8f00-2b6d1c3e4a5f"}, "unresolved_content"),
        ({"text": "a", "reply_to": True}, "unresolved_content"),
    ],
)
def test_a_content_that_nobody_could_mean_is_refused(content: dict[str, object], code: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        build_payload("+917033009600", content)
    assert refusal.value.code == code
