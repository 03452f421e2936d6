# SPDX-License-Identifier: BSD-2-Clause
"""`watch on`: what is written into the configuration serves a moment later; what is wrong never does."""
import os
import time

import flow

ONE = 'server { listen 127.0.0.1:@port@; return 200 "one"; }\n'


class Watch(flow.Case):
    def watched(self, text, **more):
        return self.server("watch on; error_log \"error.log\" notice;\n" + text, **more)

    def put(self, s, name, text, how=""):
        """As an editor does: in place, or beside it and renamed."""
        path = os.path.join(s.directory, name)
        with open(path + how, "w") as f:
            f.write(s.fill(text))
        if how:
            os.rename(path + how, path)

    def edit(self, s, old, new, how=""):
        self.put(s, "server.conf", s.read("server.conf").decode().replace(old, new), how)

    def serves(self, s, text, name="port"):
        flow.wait_for(lambda: flow.listening(s.address(name)) and s.get("/", name=name).text == text, flow.TIME * flow.SLOW,
                      "it does not say %s:\n%s" % (text, s.read("error.log").decode()))

    def logged(self, s, text, count=1):
        flow.wait_for(lambda: s.read("error.log").decode().count(text) >= count, flow.TIME * flow.SLOW,
                      "there is no %s in\n%s" % (text, s.read("error.log").decode()))

    def reloads(self, s):
        return s.read("error.log").decode().count("the configuration has changed")

    def test_edits(self):
        s = self.watched(ONE)
        workers = s.workers()
        with s.client() as kept:
            kept.send(flow.request())
            self.assertEqual(kept.answer().text, "one")
            self.edit(s, "one", "two")
            self.serves(s, "two")
            self.edit(s, "two", "three", how=".swp")
            self.serves(s, "three")
            self.edit(s, "three", "four", how="~")
            self.serves(s, "four")
            # nobody was cut off, and nobody died
            kept.send(flow.request())
            self.assertEqual(kept.answer().text, "four")
        # who checked it may take a while to be gone
        flow.wait_for(lambda: s.children() == workers)
        self.assertLessEqual(self.reloads(s), 6)

    def test_wrong_ones(self):
        s = self.watched('include "sites/*.conf";\n' + ONE)
        sites = os.path.join(s.directory, "sites")
        os.mkdir(sites)
        self.logged(s, "reloaded in")
        # a file that is written slowly is none before it is closed
        with open(os.path.join(sites, "a.conf"), "w") as f:
            f.write(s.fill('server { listen 127.0.0.1:@port2@; return 200 "half'))
            f.flush()
            time.sleep(0.7)
            self.assertNotIn("error", s.read("error.log").decode())
            self.assertEqual(s.get("/").text, "one")
        self.logged(s, "not reloaded: the configuration before stays")
        self.assertEqual(s.get("/").text, "one")
        with open(os.path.join(sites, "a.conf"), "a") as f:
            f.write('"; }\n')
        self.serves(s, "half", "port2")
        self.put(s, "sites/b.conf", "nonsense;")
        self.logged(s, 'unknown directive "nonsense"')
        os.unlink(os.path.join(sites, "b.conf"))
        self.logged(s, "reloaded in", 3)
        os.unlink(os.path.join(sites, "a.conf"))
        flow.wait_for(lambda: not flow.listening(s.address("port2")), flow.TIME * flow.SLOW)
        self.assertEqual(s.get("/").text, "one")

    def test_links(self):
        s = self.watched('include "data/*.conf";\n' + ONE, files={})
        for name in ("1", "2"):
            os.mkdir(os.path.join(s.directory, name))
            self.put(s, name + "/x.conf", 'server { listen 127.0.0.1:@port2@; return 200 "from %s"; }' % name)
        os.symlink("1", os.path.join(s.directory, "data"))
        self.serves(s, "from 1", "port2")
        os.symlink("2", os.path.join(s.directory, "new"))
        os.rename(os.path.join(s.directory, "new"), os.path.join(s.directory, "data"))
        self.serves(s, "from 2", "port2")
        self.put(s, "2/x.conf", 'server { listen 127.0.0.1:@port2@; return 200 "again"; }')
        self.serves(s, "again", "port2")

    def test_what_it_lies_in(self):
        """A directory far above the configuration goes, and another comes; it goes, and comes again."""
        above = os.path.join(self.directory(), "above")
        s = self.watched('include "%s/mid/sites/*.conf";\n' % above + ONE)
        for name in ("above", "other"):
            os.makedirs(os.path.join(os.path.dirname(above), name, "mid/sites"))
        for name in ("above", "other"):
            self.put(s, "%s/../%s/mid/sites/x.conf" % (above, name), 'server { listen 127.0.0.1:@port2@; return 200 "%s"; }' % name)
        self.serves(s, "above", "port2")
        os.rename(above, above + ".old")
        os.rename(above[:-5] + "other", above)
        self.serves(s, "other", "port2")
        os.rename(above, above + ".away")
        flow.wait_for(lambda: not flow.listening(s.address("port2")), flow.TIME * flow.SLOW)
        os.rename(above + ".away", above)
        self.serves(s, "other", "port2")
        self.put(s, above + "/mid/sites/x.conf", 'server { listen 127.0.0.1:@port2@; return 200 "again"; }')
        self.serves(s, "again", "port2")

    def test_its_own_logs(self):
        """What the server writes beside its configuration is no change of it."""
        s = self.watched('server { listen 127.0.0.1:@port@; access_log "access.log"; return 200 "one"; }\n')
        for _ in range(5):
            s.get("/")
            time.sleep(0.1)
        time.sleep(0.6)
        self.assertEqual(self.reloads(s), 0)

    def test_off_and_on(self):
        s = self.server('error_log "error.log" notice;\n' + ONE)
        self.edit(s, "one", "two")
        time.sleep(0.8)
        self.assertEqual((s.get("/").text, self.reloads(s)), ("one", 0))
        self.edit(s, "error_log", "watch on; error_log")
        status, _, err = flow.run("-c", s.path, "-p", s.directory, "-s", "reload")
        self.assertEqual(status, 0, err)
        self.serves(s, "two")
        self.edit(s, "two", "three")
        self.serves(s, "three")
        self.edit(s, "watch on; ", "")
        self.logged(s, "the configuration has changed", 2)
        self.logged(s, "reloaded in", 3)
        self.edit(s, "three", "four")
        time.sleep(0.8)
        self.assertEqual(s.get("/").text, "three")


if __name__ == "__main__":
    flow.main()
