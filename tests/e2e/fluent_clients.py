"""Sends events with PyPI's fluent-logger. Arguments: port, number of events."""
import sys

from fluent import sender

port, count = map(int, sys.argv[1:])
logger = sender.FluentSender("s3", host="127.0.0.1", port=port, nanosecond_precision=True)
for number in range(count):
    if not logger.emit("access", {"mode": "python", "n": number, "bytes": b"\xe9", "nested": {"a": [1, None, 0.5]}}):
        sys.exit(str(logger.last_error))
logger.close()
