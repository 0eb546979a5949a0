"""Upload and decrypt (session key): checks size and type, hands out a URL, keeps no bytes."""

import base64
import binascii
import uuid

from aiohttp import web

from wasender_sandbox import access, replies
from wasender_sandbox.json_body import parse_object
from wasender_sandbox.world import World

MB = 1024 * 1024

#: Largest upload by the first part of the type; webp has a limit of its own.
LIMIT_MB = {"image": 16, "video": 50, "audio": 16, "application": 100, "text": 100}
WEBP_LIMIT_MB = 5

#: Types whose content begins with known bytes, at an offset.
MAGIC: dict[str, tuple[int, tuple[bytes, ...]]] = {
    "image/png": (0, (b"\x89PNG",)),
    "image/jpeg": (0, (b"\xff\xd8\xff",)),
    "image/webp": (8, (b"WEBP",)),
    "application/pdf": (0, (b"%PDF",)),
    "video/mp4": (4, (b"ftyp",)),
    "audio/ogg": (0, (b"OggS",)),
}

EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "application/pdf": "pdf",
    "video/mp4": "mp4",
    "audio/ogg": "ogg",
    "audio/mpeg": "mp3",
    "text/plain": "txt",
}

UPLOAD_LIVES_S = 24 * 3600.0
DECRYPTED_LIVES_S = 3600.0


class MediaApi:
    """`/upload` in both documented forms, and multipart, as the official Python SDK sends it; `/decrypt-media`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/upload", self.upload),
            web.post("/api/decrypt-media", self.decrypt),
            web.get("/media/{name}", self.fetch),
        ]

    async def upload(self, request: web.Request) -> web.Response:
        channel = access.session_of(self._world, request)
        if isinstance(channel, web.Response):
            return channel
        try:
            mime, content = await _read_upload(request)
        except ValueError as error:
            return replies.controller(str(error), 422)
        megabytes = WEBP_LIMIT_MB if mime == "image/webp" else LIMIT_MB.get(mime.partition("/")[0])
        if megabytes is None:
            return replies.controller("Unsupported file type.", 422)
        if len(content) > megabytes * MB:
            text = f"File size exceeds the limit of {megabytes} MB for this file type."
            return replies.controller(text, 413)
        offset, starts = MAGIC.get(mime, (0, (b"",)))
        if not content[offset:].startswith(starts):
            return replies.controller("File content does not match the declared type.", 422)
        return self._publish(mime, UPLOAD_LIVES_S)

    async def decrypt(self, request: web.Request) -> web.Response:
        channel = access.session_of(self._world, request)
        if isinstance(channel, web.Response):
            return channel
        data = parse_object(await request.read()).get("data")
        messages = data.get("messages") if isinstance(data, dict) else None
        if not isinstance(messages, dict) or not messages.get("message"):
            return replies.controller("Invalid media message.", 422)
        return self._publish("application/octet-stream", DECRYPTED_LIVES_S)

    async def fetch(self, request: web.Request) -> web.Response:
        """A stand-in for an uploaded file: the sandbox knows the link and has thrown the bytes away."""
        expires = self._world.media.get(request.match_info["name"])
        if expires is None or expires < self._world.clock.now():
            raise web.HTTPNotFound
        return web.Response(text="The sandbox does not keep uploaded files.")

    def _publish(self, mime: str, lives_s: float) -> web.Response:
        own = uuid.UUID(int=self._world.rng.getrandbits(128), version=4)
        name = f"{own}.{EXTENSIONS.get(mime, 'bin')}"
        self._world.media[name] = self._world.clock.now() + lives_s
        return replies.bare({"success": True, "publicUrl": f"{self._world.origin}/media/{name}"})


async def _read_upload(request: web.Request) -> tuple[str, bytes]:
    """MIME type and bytes; ValueError says what is missing."""
    mime = request.content_type
    if mime == "multipart/form-data":
        field = (await request.post()).get("file")
        if not isinstance(field, web.FileField):
            raise ValueError("No file was uploaded.")
        return field.content_type, field.file.read()
    raw = await request.read()
    if mime == "application/json":
        return _from_base64(parse_object(raw))
    if "Content-Type" not in request.headers or not raw:
        raise ValueError("A Content-Type and a body are required.")
    return mime, raw


def _from_base64(body: dict[str, object]) -> tuple[str, bytes]:
    text, mime = body.get("base64"), body.get("mimetype")
    if not isinstance(text, str) or not text:
        raise ValueError("The base64 field is required.")
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        mime = mime or head.removeprefix("data:").partition(";")[0]
    if not isinstance(mime, str) or not mime:
        raise ValueError("The mimetype field is required.")
    try:
        return mime, base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("The base64 field is not valid base64.") from None
