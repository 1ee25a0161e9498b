"""moto's server on a free port. What is put into it is dated as many days ago as the first word says."""

import datetime
import sys

import moto.s3.models
from moto.server import main

AGO = datetime.timedelta(days=int(sys.argv[1]))

if AGO:
    now = moto.s3.models.utcnow
    moto.s3.models.utcnow = lambda: now() - AGO
main(["-H", "127.0.0.1", "-p", "0"])
