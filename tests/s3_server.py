"""`python -m tests.s3_server PORT`: moto, a server that speaks S3, checks signatures, and knows one
key, whose rights are those that docs/deploy.md names. Says on a line of JSON where it is; ends with
its standard input."""

import json
import logging
import sys
from urllib.parse import parse_qsl, quote, urlencode

import boto3  # type: ignore[import-untyped]
from moto import settings
from moto.iam.access_control import IAMRequestBase
from moto.server import ThreadedMotoServer

BUCKETS = ("files", "versioned")
# As docs/deploy.md has them.
OF_BUCKET = ("s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:GetBucketVersioning")
OF_FILES = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", int(sys.argv[1]), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    anybody = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    where = {"endpoint_url": url, "region_name": "us-east-1"}
    s3 = boto3.client("s3", **anybody, **where)
    for bucket in BUCKETS:
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    iam = boto3.client("iam", **anybody, **where)
    iam.create_user(UserName="product")
    iam.put_user_policy(UserName="product", PolicyName="files", PolicyDocument=_policy())
    key = iam.create_access_key(UserName="product")["AccessKey"]
    _spell_queries_as_documented()
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0  # from here on it believes nobody
    said = {"url": url, "key_id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
    print(json.dumps(said), flush=True)
    sys.stdin.read()


def _spell_queries_as_documented() -> None:
    """A signature is of the query with everything escaped, however it was sent; moto takes it as it
    was sent, where a slash may stand for itself."""
    signature = IAMRequestBase._calculate_signature

    def calculated(self: IAMRequestBase) -> str:
        path, mark, query = self._path.partition("?")
        escaped = urlencode(parse_qsl(query, keep_blank_values=True), quote_via=quote)
        self._path = f"{path}{mark}{escaped}"
        return signature(self)

    IAMRequestBase._calculate_signature = calculated  # type: ignore[method-assign]


def _policy() -> str:
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": OF_BUCKET, "Resource": "arn:aws:s3:::*"},
                {"Effect": "Allow", "Action": OF_FILES, "Resource": "arn:aws:s3:::*/*"},
            ],
        }
    )


if __name__ == "__main__":
    main()
