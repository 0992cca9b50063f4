"""`swiftreplies ingress`"""

import argparse


def declare(noun: argparse.ArgumentParser) -> None:
    noun.set_defaults(run=_run)


def _run(_: argparse.Namespace) -> None:
    from cli.serving import configured, serve
    from ingress import app, settings

    serve(app.serve, configured(settings.read, "ingress"))
