"""What boto3 reads to make a client, read once for each process of tests: of S3 it takes longer than most tests."""

from __future__ import annotations

import functools

import botocore.session

botocore.session.create_loader = functools.cache(botocore.session.create_loader)
