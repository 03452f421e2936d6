# SPDX-License-Identifier: BSD-2-Clause
"""
Limits by key, end to end: each value of a field has its own, all workers count together, what is over is 429, and a
worker that dies takes no count along.
"""
import json
import os
import signal

import flow

LIMITS = """
    limit user { key header.x-user; rate 3/h; burst 2; }
    limit fast { key query.k; rate 20/s; burst 1; }
    limit all { key src; rate 10/h; }
"""


class Limit(flow.Case):
    def ask(self, s, target="/", user=None):
        return s.get(target, headers="" if user is None else "X-User: %s\r\n" % user).status

    def test_each_its_own(self):
        s = self.server(LIMITS + """
            server a { listen 127.0.0.1:@port@; access_log "access.log" json;
                route /free { return 200; }
                route { limit user when method == "GET"; return 200; } }
        """)
        self.assertEqual([self.ask(s, user="a") for _ in range(4)], [200, 200, 429, 429])
        self.assertEqual([self.ask(s, user="b") for _ in range(3)], [200, 200, 429])
        # who has no value is not counted; nor is what the condition leaves out, or another route
        self.assertEqual({self.ask(s) for _ in range(5)}, {200})
        self.assertEqual(s.get(method="POST", headers="X-User: a\r\n").status, 200)
        self.assertEqual(self.ask(s, "/free", user="a"), 200)

        def logged():
            found = [json.loads(line) for line in s.read("access.log").splitlines()]
            return found if len(found) >= 14 else None
        refused = [line for line in flow.wait_for(logged) if line["status"] == 429]
        self.assertEqual([line["reason"] for line in refused], ["rate"] * 3)

    def test_comes_back(self):
        s = self.server(LIMITS + """
            server a { listen 127.0.0.1:@port@; limit fast; return 200; }
        """)
        self.assertEqual(self.ask(s, "/?k=x"), 200)
        flow.wait_for(lambda: self.ask(s, "/?k=x") == 200)

    def test_error_page(self):
        s = self.server(LIMITS + """
            server a { listen 127.0.0.1:@port@; limit user; route { return 200; }
                error 429 { return 503 "later\\n"; } }
        """)
        answers = [s.get(headers="X-User: x\r\n") for _ in range(3)]
        self.assertEqual([a.status for a in answers], [200, 200, 503])
        self.assertEqual(answers[2].text, "later\n")

    def test_workers_count_together(self):
        s = self.server(LIMITS + """
            server a { listen 127.0.0.1:@port@; limit all; return 200; }
        """, main="workers 2;\n", expect_report=True)
        got = [self.ask(s) for _ in range(12)]
        self.assertEqual(got.count(200), 10)
        self.assertEqual(got[10:], [429, 429])
        # the next worker finds what the one before it had counted
        before = s.workers()
        for p in before:
            os.kill(p, signal.SIGKILL)
        flow.wait_for(lambda: len(s.workers()) == 2 and not set(before) & set(s.workers()))

        def again():
            try:
                return self.ask(s)
            except OSError:
                return None
        self.assertEqual(flow.wait_for(again), 429)


if __name__ == "__main__":
    flow.main()
