#!/usr/bin/env python3
"""A proxy before the nodes of a cluster: each connection goes to the next node in turn,
and to the one after it when that is not there, or ends before it has said a word.

    proxy.py LISTEN_PORT NODE_PORT...     all on 127.0.0.1
"""

import asyncio
import itertools
import sys

HOST = "127.0.0.1"
PIECE_BYTES = 256 * 1024
# So much of what a client sends first is kept, to be said again to another node.
KEPT_BYTES = 64 * 1024


class Passage:
    """One connection of a client, and the node it has come to."""

    def __init__(self, client_reader, client_writer, nodes):
        self.client_reader = client_reader
        self.client_writer = client_writer
        self.nodes = nodes
        self.said = b""
        self.can_repeat = True

    async def run(self):
        for port in self.nodes:
            try:
                reader, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                continue
            if self.said:
                writer.write(self.said)
            there = asyncio.create_task(self.there(writer))
            is_served = await self.back(reader)
            if is_served:
                await there
            else:
                there.cancel()
            writer.close()
            if is_served or not self.can_repeat:
                break
        self.client_writer.close()

    async def there(self, writer):
        """Copies from the client to the node; an end is passed on as an end."""
        try:
            while piece := await self.client_reader.read(PIECE_BYTES):
                self.can_repeat &= len(self.said) + len(piece) <= KEPT_BYTES
                if self.can_repeat:
                    self.said += piece
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
        except OSError:
            writer.transport.abort()

    async def back(self, reader):
        """Copies from the node to the client; whether the node said anything."""
        has_answered = False
        try:
            while piece := await reader.read(PIECE_BYTES):
                has_answered, self.can_repeat = True, False
                self.client_writer.write(piece)
                await self.client_writer.drain()
            if has_answered or self.client_reader.at_eof():
                self.client_writer.write_eof()
                return True
        except OSError:
            if has_answered:
                self.client_writer.transport.abort()
                return True
        return False


async def main(port, nodes):
    turn = itertools.cycle(range(len(nodes)))

    async def serve(client_reader, client_writer):
        first = next(turn)
        order = nodes[first:] + nodes[:first]
        await Passage(client_reader, client_writer, order).run()

    server = await asyncio.start_server(serve, HOST, port)
    async with server:
        await server.serve_forever()


ports = [int(word) for word in sys.argv[1:]]
asyncio.run(main(ports[0], ports[1:]))
