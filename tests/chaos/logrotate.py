#!/usr/bin/env python3
"""A real logrotate under a real agent that is killed and stopped, with a webhook that goes away: every line that a server
writes is delivered, or its loss is reported.

usage: AGENT=PROGRAM RECEIVER=PROGRAM logrotate.py SECONDS [CONFIGURATION…]

The server writes without a pause, but not while logrotate copies and truncates: what it would write then is lost to
everybody.
"""

import collections
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

AGENT = os.environ["AGENT"]
RATE = 2000
# In seconds; names with the time have no more.
ROTATE_EVERY = 1.1
PATIENCE = 60
# By name: what stands in logrotate's configuration, and the name or pattern that the agent follows.
CONFIGURATIONS = {
    "create": ("create\nrotate 99", "audit.log"),
    "create_pattern": ("create\nrotate 99", "audit.log*"),
    "copytruncate": ("copytruncate\nrotate 99", "audit.log"),
    "copytruncate_pattern": ("copytruncate\nrotate 99", "audit.log*"),
    "dateext": ("create\ndateext\ndateformat -%Y%m%d-%s\nrotate 99", "audit.log"),
    "compress": ("create\ncompress\nrotate 99", "audit.log"),
    "compress_copytruncate": ("copytruncate\ncompress\nrotate 99", "audit.log*"),
    "delaycompress": ("create\ncompress\ndelaycompress\nrotate 99", "audit.log"),
    "olddir": ("create\nolddir old\ncreateolddir\nrotate 99", "**/audit.log*"),
    "nocreate": ("nocreate\nrotate 99", "audit.log"),
    "rotate_1": ("create\nrotate 1", "audit.log"),
    "rotate_1_pattern": ("create\nrotate 1", "audit.log*"),
    "rotate_1_outage": ("create\nrotate 1", "audit.log"),
    "rotate_1_outage_pattern": ("create\nrotate 1", "audit.log*"),
}
# In these logrotate removes what was not read while the agent does not run: that must be reported.
LOSING = {"rotate_1", "rotate_1_pattern"}
# In these the agent runs all the time, so that it has all files open that are removed.
STEADY = {"rotate_1_outage", "rotate_1_outage_pattern"}
# What may be delivered before its offset is written.
LAST_BYTES = 20_000


class Webhook:
    """Takes events, or answers 503 while it is away."""

    def __init__(self, directory):
        self.events, self.switch, said = directory + "/events", directory + "/away", directory + "/receiver.log"
        with open(said, "wb") as log:
            self.process = subprocess.Popen([os.environ["RECEIVER"], "--events", self.events], stdout=log)
        self.url = ""
        while not self.url.endswith("\n"):
            with open(said, encoding="utf-8") as log:
                self.url = log.readline()

    def away(self, is_away):
        if is_away:
            open(self.switch, "w").close()
        elif os.path.exists(self.switch):
            os.remove(self.switch)

    def taken(self):
        """How often each number has arrived."""
        with open(self.events, "rb") as events:
            return collections.Counter(int(number) for number in re.findall(rb'"n":(\d+)', events.read()))

    def end(self):
        self.process.terminate()
        self.process.wait()


class Server:
    """Writes numbered lines, and opens its log anew when it is told to."""

    def __init__(self, path):
        self.path, self.written, self.bytes = path, 0, {}
        self.may_write, self.is_over = threading.Lock(), False
        self.marker = os.path.dirname(path) + "/../reopen"
        self.reopen()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def reopen(self):
        self.file = open(self.path, "ab", buffering=0)

    def run(self):
        while not self.is_over:
            if os.path.exists(self.marker):
                self.reopen()
                os.remove(self.marker)
            with self.may_write:
                for _ in range(RATE // 100):
                    self.written += 1
                    line = b'{"n":%d,"pad":"%s"}\n' % (self.written, b"x" * random.randrange(200))
                    self.bytes[self.written] = len(line)
                    self.file.write(line)
            time.sleep(0.01)


class Agent:
    def __init__(self, webhook, source, state, log):
        self.arguments = [AGENT, "run", "--config", "/dev/null", "--no-proxy", "--endpoint", webhook.url.strip(), "--auth-token", "none"]
        self.arguments += ["--state-dir", state, "--source", f"file:{source}", "--batch-age", "20ms"]
        # Most of what is not delivered is in the files, not in memory.
        self.arguments += ["--buffer-events", "500", "--backoff-min", "50ms", "--backoff-max", "200ms", "--shutdown-timeout", "300ms"]
        self.log, self.process, self.kills = log, None, 0

    def start(self):
        self.process = subprocess.Popen(self.arguments, stderr=open(self.log, "ab"), stdin=subprocess.DEVNULL)

    def end(self, how):
        self.process.send_signal(how)
        self.kills += how == signal.SIGKILL
        self.process.wait(30)
        self.process = None


def configure(directory, text):
    path = directory + "/logrotate.conf"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{directory}/log/audit.log {{\nsu root root\nmissingok\n{text}\n")
        if "copytruncate" not in text:
            # Before logrotate compresses the log, as `systemctl kill -s HUP` does.
            marker = directory + "/reopen"
            file.write(f"postrotate\ntouch {marker}; while [ -e {marker} ]; do sleep 0.01; done\nendscript\n")
        file.write("}\n")
    os.chmod(path, 0o644)
    return path


def rotate(directory, config, server, is_copying):
    command = ["logrotate", "--force", "--state", directory + "/logrotate.state", config]
    if is_copying:
        with server.may_write:
            subprocess.run(command, check=True, capture_output=True)
    else:
        subprocess.run(command, check=True, capture_output=True)


def disturb(dice, webhook, agent, is_steady):
    """Something goes wrong, or is well again."""
    event = dice.randrange(3 if is_steady else 6)
    if event == 0:
        webhook.away(True)
    elif event < 3:
        webhook.away(False)
    elif agent.process:
        agent.end(signal.SIGKILL if event < 5 else signal.SIGTERM)
    if agent.process is None and dice.random() < 0.7:
        agent.start()


def run(name, seconds, seed):
    text, pattern = CONFIGURATIONS[name]
    dice = random.Random(seed)
    directory = tempfile.mkdtemp(prefix="logrotate-")
    os.chmod(directory, 0o755)
    for inside in ("log", "state"):
        os.mkdir(f"{directory}/{inside}")
    config = configure(directory, text)
    webhook, server = Webhook(directory), Server(directory + "/log/audit.log")
    agent = Agent(webhook, f"{directory}/log/{pattern}", directory + "/state", directory + "/agent.log")
    agent.start()
    time.sleep(0.5)
    end = time.monotonic() + seconds
    rotations = 0
    while time.monotonic() < end:
        disturb(dice, webhook, agent, name in STEADY)
        time.sleep(ROTATE_EVERY)
        rotate(directory, config, server, "copytruncate" in text)
        rotations += 1
    server.is_over = True
    server.thread.join()
    webhook.away(False)
    if agent.process is None:
        agent.start()
    deadline, before = time.monotonic() + PATIENCE, None
    # Until all is there, or nothing more comes.
    while len(webhook.taken()) < server.written and time.monotonic() < deadline:
        before = len(webhook.taken())
        time.sleep(5 if name in LOSING else 0.5)
        if name in LOSING and len(webhook.taken()) == before:
            break
    agent.end(signal.SIGTERM)
    webhook.end()
    taken = webhook.taken()
    log = open(directory + "/agent.log", encoding="utf-8", errors="replace").read()
    missing = sorted(set(range(1, server.written + 1)) - set(taken))
    reported = sum(map(int, re.findall(r" (\d+) bytes lost:", log)))
    unknown = len(re.findall(r"after the agent stopped is unknown", log))
    repeated = sum(count - 1 for count in taken.values())
    lost_bytes = sum(server.bytes[number] for number in missing)
    is_reported = reported >= lost_bytes or unknown > 0
    # What was not lost must not be reported either, except what was delivered right before a kill.
    is_exact = reported <= lost_bytes + agent.kills * LAST_BYTES
    is_good = is_reported and is_exact if name in LOSING else not missing and reported == 0
    wrong = [line for line in log.splitlines() if " ERROR " in line or "panicked" in line]
    is_good = is_good and not wrong
    print(
        f"{'OK   ' if is_good else 'FAULT'} {name}: {server.written} lines, {rotations} rotations, {len(missing)} lines missing"
        f" ({lost_bytes} bytes; {reported} reported, {unknown} times unknown), {repeated} repeated; seed {seed}",
        flush=True,
    )
    if is_good:
        shutil.rmtree(directory)
    else:
        print(f"      missing {missing[:10]}…; {wrong[:3]}; all of it in {directory}")
    return is_good


def main():
    names = sys.argv[2:] or list(CONFIGURATIONS)
    seconds = float(sys.argv[1]) / len(names)
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(1 << 32))
    sys.exit(not all([run(name, seconds, seed) for name in names]))


main()
