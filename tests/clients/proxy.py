#!/usr/bin/env python3
"""A proxy before the nodes of a cluster: each connection goes to the next node in turn,
and to the one after it when that is not there, or has gone before it was told a word.
What was said to one node is never said again to another, as a load balancer's default
is: the node may have done it.

    proxy.py LISTEN_PORT NODE_PORT...     all on 127.0.0.1
"""

import asyncio
import itertools
import sys

HOST = "127.0.0.1"
PIECE_BYTES = 256 * 1024


class Passage:
    """One connection of a client, and the node it has come to."""

    def __init__(self, client_reader, client_writer, nodes):
        self.client_reader = client_reader
        self.client_writer = client_writer
        self.nodes = nodes
        # Taken from the client, and said to no node yet.
        self.unsaid = None

    async def run(self):
        for port in self.nodes:
            try:
                reader, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                continue
            has_heard = await self.serve(reader, writer)
            writer.close()
            if has_heard:
                break
        self.client_writer.close()

    async def serve(self, reader, writer):
        """Passes on what both say; whether the node may have heard of the client."""
        back = asyncio.create_task(self.back(reader))
        if self.unsaid is None:
            first = asyncio.create_task(self.client_reader.read(PIECE_BYTES))
            await asyncio.wait({first, back}, return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                # The node has gone before the client said a word: to the next one.
                first.cancel()
                return await back
            self.unsaid = first.result()
        if back.done() and not back.result():
            return False
        there = asyncio.create_task(self.there(writer))
        await back
        there.cancel()
        return True

    async def there(self, writer):
        """Copies from the client to the node; an end is passed on as an end."""
        piece, self.unsaid = self.unsaid, b""
        try:
            while piece:
                writer.write(piece)
                await writer.drain()
                piece = await self.client_reader.read(PIECE_BYTES)
            writer.write_eof()
        except OSError:
            writer.transport.abort()

    async def back(self, reader):
        """Copies from the node to the client; whether the node said anything."""
        has_answered = False
        try:
            while piece := await reader.read(PIECE_BYTES):
                has_answered = True
                self.client_writer.write(piece)
                await self.client_writer.drain()
        except OSError:
            if has_answered:
                self.client_writer.transport.abort()
        return has_answered


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
