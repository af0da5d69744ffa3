"""Prints a policy that allows as many names below gate.example as given."""

import json
import sys

NAMES = [f"name{i}.gate.example" for i in range(int(sys.argv[1]))]
EGRESS = {
    "allow_all": False,
    "allow_devbox_to_devbox": False,
    "allow_agent_gateway": False,
    "allow_mcp_gateway": False,
    "allowed_hostnames": NAMES,
}
print(json.dumps({
    "id": "npl_many",
    "name": "many",
    "description": None,
    "egress": EGRESS,
    "create_time_ms": 1,
    "update_time_ms": 1,
}))
