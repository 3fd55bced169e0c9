"""A line between a client and a server: it can be cut at one end or both, or lose an answer."""

import socket
import threading
from contextlib import suppress


class Wire:
    """Listens on a port of localhost, and carries what comes to another one."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._lines: list[tuple[socket.socket, socket.socket]] = []  # client's and server's ends
        self._losing = b""
        self.has_lost_one = False  # answer
        self.open = True  # whether new connections are carried
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def cut(self, *, server_hears_of_it: bool = True) -> None:
        """The client loses its connections; without hearing of it, the server keeps its ends."""
        for client, server in self._lines:
            _end(client)
            if server_hears_of_it:
                _end(server)
        if server_hears_of_it:
            self._lines.clear()

    def lose_the_answer_to(self, request: bytes) -> None:
        """The next such request arrives, and the line is cut before its answer does."""
        self._losing = request

    def close(self) -> None:
        """End everything."""
        self._listening.close()
        self.cut()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if not self.open:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._lines.append((client, server))
                lost = threading.Event()
                for source, sink, asks in ((client, server, True), (server, client, False)):
                    carry = threading.Thread(
                        target=self._carry, args=(source, sink, asks, lost), daemon=True
                    )
                    carry.start()

    def _carry(
        self, source: socket.socket, sink: socket.socket, asks: bool, lost: threading.Event
    ) -> None:
        with suppress(OSError):
            while carried := source.recv(65536):
                if asks and self._losing and self._losing in carried:
                    self._losing = b""
                    lost.set()
                elif not asks and lost.is_set():
                    self.has_lost_one = True
                    self.cut()
                    return
                sink.sendall(carried)
            if asks:  # the server's end stays, where only the client's was cut
                return
            _end(sink)


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
