"""Submits a request and does not wait: the webhook will tell. Usage: submit.py HOOK PROMPT"""

import os
import sys

import fal_client
from fal_server import use_server

use_server()
hook, prompt = sys.argv[1:]
endpoint = os.environ.get("ENDPOINT", "scumble/starter")
print(fal_client.submit(endpoint, {"prompt": prompt}, webhook_url=hook).request_id)
