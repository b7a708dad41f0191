"""What the ingest server takes at most, of whom, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from lake.settings import MIB


@dataclass(frozen=True, slots=True)
class ReceivingLimits:
    """Limits of one server.

    Attributes:
        body: bytes of one body as it is sent over HTTP.
        text: bytes of one body after decompression, and Arrow bytes of one batch.
        ratio: times that a body may grow by decompression, beyond ``ratio_free`` bytes.
        line: bytes of one line.
        rows: rows of one batch.
        document: bytes of a JSON body that is no batch.
        header: characters of the batch header.
        headers: bytes of all headers of a request.
        uploads: batches under way at a time, ``uploads_each`` of one device.
        buffered: bytes of bodies in memory at a time.
        connections: open connections; one more is closed at once.
        landing: batches that land at a time, each in a thread.
        handshake_s, header_s: seconds for TLS, and for the headers of a request.
        idle_s: seconds between two pieces of a body.
        rate: bytes a second that a body has to come with after ``idle_s``.
        body_s: seconds for one body.
        keep_alive_s: seconds for which a connection may be idle.
        retry_s: seconds after which a client is told to try again.
    """

    body: int = 16 * MIB
    text: int = 128 * MIB
    ratio: int = 100
    ratio_free: int = MIB
    line: int = 256 * 1024
    rows: int = 1_000_000
    document: int = 64 * 1024
    header: int = 12 * 1024
    headers: int = 32 * 1024
    uploads: int = 128
    uploads_each: int = 4
    buffered: int = 256 * MIB
    connections: int = 1024
    landing: int = 2
    handshake_s: float = 10.0
    header_s: float = 10.0
    idle_s: float = 10.0
    rate: int = 1024
    body_s: float = 300.0
    keep_alive_s: float = 30.0
    retry_s: int = 2

    def decompressed(self, sent: int) -> int:
        """Bytes that a body of ``sent`` bytes may become."""
        return min(self.text, self.ratio_free + self.ratio * sent)
