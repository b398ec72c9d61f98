"""A DNS server on 127.0.0.1:53: every name is one address. Prints each name that it is asked for.

usage: dns.py IPV4-ADDRESS
"""

import socket
import struct
import sys

A, IN = 1, 1
HEADER = struct.Struct("!6H")  # id, flags, questions, answers, authorities, additionals
RECORD = struct.Struct("!3HIH4s")  # name, type, class, seconds to live, length, address
RESPONSE_WITH_RECURSION = 0x8180
NAME_OF_THE_QUESTION = 0xC000 + HEADER.size

address = socket.inet_aton(sys.argv[1])
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
print("ready", flush=True)
while True:
    query, client = server.recvfrom(4096)
    labels, at = [], HEADER.size
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    at += 1
    kind, _ = struct.unpack_from("!2H", query, at)
    question = query[HEADER.size : at + 4]
    answer = RECORD.pack(NAME_OF_THE_QUESTION, A, IN, 0, 4, address) if kind == A else b""
    header = HEADER.pack(
        int.from_bytes(query[:2], "big"), RESPONSE_WITH_RECURSION, 1, 1 if answer else 0, 0, 0
    )
    server.sendto(header + question + answer, client)
    print(".".join(labels), flush=True)
