"""A LitServe server that does nothing: the floor of what a direct call costs there.

    python clients/bench/litserve_noop.py PORT
"""

import sys

import litserve


class Noop(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request["prompt"]

    def predict(self, prompt):
        return prompt

    def encode_response(self, output):
        return {"images": [], "prompt": output}


if __name__ == "__main__":
    server = litserve.LitServer(Noop(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False,
               access_log=False)
