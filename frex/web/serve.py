"""Serve the page until it is stopped. Photographs and reports of use are sent to no other server, by this process or by the browser."""

import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from frex.errors import FRExError
from frex.utils.signals import stop_on_signals
from frex.web.options import WebOptions
from frex.web.session import Sessions
from frex.web.work import WebRestorer

# gradio and the client of the Hub would report their use.
NO_TELEMETRY = {'GRADIO_ANALYTICS_ENABLED': 'False', 'HF_HUB_DISABLE_TELEMETRY': '1'}
# The browser loads nothing from elsewhere: gradio's pages name a script and fonts of other servers.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"
# The names that a browser on this machine has for it.
LOCAL_NAMES = ['127.0.0.1', 'localhost']
POLL_SECONDS = 0.3

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Any, Send], Awaitable[None]]


def serve(options: WebOptions) -> int:
    """Serve the page until SIGINT or SIGTERM, and return the exit status, 130 or 143.

    Raises FRExError where the first network cannot be loaded, or the address cannot be used.
    """
    work = WebRestorer(options)
    load_default(work)
    with serving(options, work) as address, stop_on_signals() as stop:
        print(f'FREx restores photographs at {address} (Ctrl+C ends it)', flush=True)
        while not stop():
            time.sleep(POLL_SECONDS)
    return stop.status


def load_default(work: WebRestorer) -> None:
    """Load the default network and the face detector, so that the first user need not wait; say so where there is no detector."""
    restorer = work.load(work.models[0])
    try:
        restorer.parts.detector()
    except FRExError as error:
        print(f'{error}; until then the page restores aligned faces only', file=sys.stderr)


@contextmanager
def serving(options: WebOptions, work: WebRestorer) -> Iterator[str]:
    """Serve the page in threads within the block, and yield its URL; the files of all sessions are removed afterwards.

    gradio's environment variables are set and stay set in this process. Raises FRExError where nothing can listen at the address.
    """
    sessions = Sessions(options.limits)
    try:
        # Before gradio is imported, which reads them.
        os.environ |= NO_TELEMETRY | {'GRADIO_TEMP_DIR': str(sessions.folder / 'received')}
        from frex.web.page import CSS, Page

        blocks = Page(work, sessions).blocks
        try:
            yield launch(blocks, options, CSS)
        finally:
            blocks.close(verbose=False)
    finally:
        sessions.close()


def launch(blocks: Any, options: WebOptions, css: str) -> str:
    """Start the server of gradio's blocks and return its address; raise FRExError where nothing can listen there."""
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    # A page of the internet whose name is made to lead to this machine may not use the server.
    names = LOCAL_NAMES if options.host in LOCAL_NAMES else ['*']
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=names), Middleware(OwnSourcesOnly)]
    try:
        _, address, _ = blocks.launch(
            server_name=options.host,
            server_port=options.port,
            max_file_size=options.limits.megabytes * 10**6,
            app_kwargs={'middleware': middleware},
            prevent_thread_lock=True,
            quiet=True,
            show_error=True,
            share=False,
            # Otherwise the browser would keep what was uploaded and restored.
            run_history=False,
            enable_monitoring=False,
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            css=css,
        )
    except OSError:
        # gradio's own reason speaks of its functions.
        raise FRExError(f'--port {options.port}: in use, or --host {options.host} is no address of this machine; give another') from None
    return str(address)


class OwnSourcesOnly:
    """Middleware that tells browsers to load nothing from other servers."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        """Pass a request on, and add the policy to the headers of the answer."""

        async def send_with_policy(message: Message) -> None:
            if message['type'] == 'http.response.start':
                message['headers'] = [*message.get('headers', []), (b'content-security-policy', POLICY.encode())]
            await send(message)

        await self.app(scope, receive, send_with_policy)
