"""moto as a private AWS: signatures and rights are checked, rights on a user by the user's name (moto takes every resource
for "*"), inactive keys are refused (moto lets them in, AWS does not), and a key may be unknown for a while after it was made, as in AWS.

usage: server.py PORT ADMIN_PORT
The second port is for tests alone: what an administrator, or somebody by hand, would do, without a signature.
"""
import json, os, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "0"
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.iam import access_control
from moto.iam.models import iam_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
hidden_for = {}

made = access_control.IAMUserAccessKey.__init__


def checked(self, account_id, partition, access_key_id, headers):
    made(self, account_id, partition, access_key_id, headers)
    key = iam.access_keys.get(access_key_id)
    if key is None or key.status != "Active":
        raise access_control.CreateAccessKeyFailure(reason="InvalidId")
    age = (utcnow() - key.create_date).total_seconds()
    if age < hidden_for.get(key.user_name, 0):
        raise access_control.CreateAccessKeyFailure(reason="InvalidId")


access_control.IAMUserAccessKey.__init__ = checked
permitted = access_control.IAMRequestBase.check_action_permitted


def permitted_on(self, resource):
    user = self._data.get("UserName") if self._service == "iam" else None
    user = user[0] if isinstance(user, list) else user
    permitted(self, f"arn:aws:iam::{self.account_id}:user/{user}" if user else resource)


access_control.IAMRequestBase.check_action_permitted = permitted_on


def shown(key):
    return {"id": key.access_key_id, "secret": key.secret_access_key, "status": key.status}


class Admin(BaseHTTPRequestHandler):
    def do_POST(self):
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer, user = {}, given.get("user")
        if self.path == "/user":
            if user not in iam.users:
                iam.create_user("us-east-1", user)
            if "policy" in given:
                iam.put_user_policy(user, "given", given["policy"])
        elif self.path == "/create":
            answer = shown(iam.create_access_key(user))
        elif self.path == "/delete":
            iam.delete_access_key(given["id"], user)
        elif self.path == "/keys":
            answer = [shown(key) for key in iam.list_access_keys(user)]
        elif self.path == "/hide":
            hidden_for[user] = given["seconds"]
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


admin = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Admin)
threading.Thread(target=admin.serve_forever, daemon=True).start()
app = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True)
print("ready", flush=True)
server.serve_forever()
