#!/usr/bin/env python3
"""Real S3 requests of many kinds, some of which fail, and the request id of every answer.

usage: traffic.py ENDPOINT ANSWERS [--rounds N] [--threads N] [--pause SECONDS]

Goes on until each thread has done its rounds, or until SIGTERM. Appends a line to ANSWERS for each request:
{"client", "id", "keys"}, where DeleteObjects has keys, or {"client", "failed"} if no answer came. A thread is a
client, and makes one request after the other.
"""

import argparse
import json
import os
import signal
import threading
import time

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Keys that break naive framing and quoting.
ODD_KEYS = [
    '"},\n{"forged":true},\n',
    "[]]],[",
    "}{.json",
    "quote\"d'back\\slash",
    "tab\tand\rreturn",
    "control\x01\x1f\x7f",
    "ключ/日本語 ☃ 😀",
    "line\u2028paragraph\u2029mark\ufeff",
    "50%25 off+plus&amp;=eq?",
    "a" * 900,
]

arguments = argparse.ArgumentParser()
arguments.add_argument("endpoint")
arguments.add_argument("answers")
arguments.add_argument("--rounds", type=int, default=1_000_000)
arguments.add_argument("--threads", type=int, default=4)
arguments.add_argument("--pause", type=float, default=0.02)
options = arguments.parse_args()

answers = os.open(options.answers, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())


def note(**what):
    os.write(answers, json.dumps(what).encode() + b"\n")


def connect(number, **settings):
    def note_answer(parsed, **_):
        keys = [deleted["Key"] for deleted in parsed.get("Deleted", ())]
        note(client=number, id=parsed["ResponseMetadata"]["HTTPHeaders"]["x-amz-request-id"], keys=keys)

    client = boto3.client(
        "s3",
        endpoint_url=options.endpoint,
        region_name="us-east-1",
        # A request that is sent again would have two records.
        config=Config(
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",  # Ceph 16 knows no others
            connect_timeout=5,
            read_timeout=30,
            **settings,
        ),
    )
    client.meta.events.register("after-call.s3", note_answer)
    return client


def requests(s3, stranger, bucket, turn):
    """One round, a function a request."""
    plain, odd, parts = f"plain/{turn}", ODD_KEYS[turn % len(ODD_KEYS)], f"parts/{turn}"
    at = {"Bucket": bucket}
    yield lambda: s3.create_bucket(**at)
    yield lambda: s3.head_bucket(**at)
    yield lambda: s3.put_object(**at, Key=plain, Body=b"plain", Metadata={"turn": str(turn)})
    yield lambda: s3.put_object(**at, Key=odd, Body=b"odd")
    yield lambda: s3.get_object(**at, Key=odd)["Body"].read()
    yield lambda: s3.get_object(**at, Key=plain, Range="bytes=1-2")["Body"].read()
    yield lambda: s3.get_object(**at, Key=plain, Range="bytes=100-")  # 416
    yield lambda: s3.get_object(**at, Key=plain, IfMatch='"other"')  # 412
    yield lambda: s3.head_object(**at, Key=plain)
    yield lambda: s3.head_object(**at, Key="absent")  # 404
    yield lambda: s3.get_object(**at, Key="absent/" + odd)  # 404
    yield lambda: stranger.get_object(**at, Key=plain)  # 403
    yield lambda: s3.copy_object(**at, Key=plain + ".copy", CopySource={**at, "Key": plain})
    yield lambda: s3.list_objects_v2(**at, Prefix="plain/", MaxKeys=5)

    upload = {**at, "Key": parts}

    def begin():
        upload["UploadId"] = s3.create_multipart_upload(**at, Key=parts)["UploadId"]

    def finish():
        part = s3.list_parts(**upload)["Parts"][0]
        part = {"PartNumber": 1, "ETag": part["ETag"]}
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]})

    yield begin
    if "UploadId" in upload:
        yield lambda: s3.upload_part(**upload, PartNumber=1, Body=b"p" * 100_000)
        yield finish
    keys = [plain, plain + ".copy", parts]
    yield lambda: s3.delete_objects(**at, Delete={"Objects": [{"Key": key} for key in keys]})
    yield lambda: s3.delete_object(**at, Key=odd)


def work(number):
    s3 = connect(number)
    stranger = connect(number, signature_version=UNSIGNED)
    for turn in range(options.rounds):
        for request in requests(s3, stranger, f"e2e-{number}", turn):
            if over.wait(options.pause):
                return
            try:
                request()
            except ClientError:
                pass  # An answer like any other.
            except (BotoCoreError, KeyError, IndexError) as error:
                note(client=number, failed=type(error).__name__)


threads = [threading.Thread(target=work, args=(number,)) for number in range(options.threads)]
for thread in threads:
    thread.start()
    time.sleep(0.01)
for thread in threads:
    thread.join()
