# SPDX-License-Identifier: BSD-2-Clause
"""Bodies past 31 bits, streamed up and down: every byte counted, the memory of the worker flat."""
import os
import re

import flow

TOTAL = (1 << 31) + 12345 if flow.SLOW == 1 else 64 << 20

CONF = """
server { listen 127.0.0.1:@port@; server_name localhost; max { body 0; } proxy @peer@; }
"""


class Bulk(flow.Case):
    def start(self, script):
        self.s = self.server(CONF, peer=self.peer(script))
        self.before = self.memory()

    def memory(self):
        """KiB that the worker has had in memory at most."""
        with open("/proc/%d/status" % self.s.workers()[0]) as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))

    def check_memory(self):
        if "asan" not in flow.SERVER:
            self.assertLess(self.memory() - self.before, 4096)

    @staticmethod
    def give(stream):
        block = memoryview(os.urandom(1 << 20))
        left = TOTAL
        while left:
            left -= stream.socket.send(block[:min(left, len(block))])

    @staticmethod
    def take(stream):
        got, room = len(stream.buffer), bytearray(1 << 20)
        while got < TOTAL:
            n = stream.socket.recv_into(room)
            if n == 0:
                break
            got += n
        return got

    def test_down(self):
        def script(stream, peer):
            stream.question()
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % TOTAL)
            self.give(stream)

        self.start(script)
        with self.s.client() as c:
            c.send(flow.request("/"))
            self.assertEqual(c.head()["Content-Length"], str(TOTAL))
            self.assertEqual(self.take(c), TOTAL)
        self.check_memory()

    def test_up(self):
        def script(stream, peer):
            peer.notes["length"] = stream.head()["Content-Length"]
            stream.send(flow.answer(200, b"%d" % self.take(stream)))

        self.start(script)
        with self.s.client() as c:
            c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % TOTAL)
            self.give(c)
            self.assertEqual(c.answer().text, str(TOTAL))
        self.check_memory()


if __name__ == "__main__":
    flow.main()
