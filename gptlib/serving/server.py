"""The server: from a page to an address that answers.

One job: `serve` for the page to write with and `serve_page` for any, which says where the page is
and ends what is under way when it is told to end. Nothing is sent anywhere but to those who asked.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from gptlib.errors import ConfigError
from gptlib.serving.desk import Desk
from gptlib.serving.gate import Gate

NAMES_OF_HERE = frozenset({"127.0.0.1", "localhost", "[::1]"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach this address; a name other than localhost may be any."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def open_port(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any that is free.

    Raises:
        ConfigError: the port is taken or no port, or this machine has no such address.
    """
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen at {host}, port {port} ({getattr(error, 'strerror', None) or error}); "
            "give an address of this machine with --host and a free port with --port, 0 for any"
        ) from error


def serve(
    desk: Desk,
    name: str,
    listening: socket.socket,
    tell: Callable[[str], object],
    password: str | None = None,
    workers: int = 1,
    waiting: int = 20,
) -> None:
    """Serve the page to write with until the process is told to end.

    Args:
        listening, tell, password: as for `serve_page`.
        workers, waiting: as for `gptlib.serving.page.build_page`.
    """

    def build() -> tuple[Any, str]:
        from gptlib.serving.page import CSS, build_page

        return build_page(desk, name, workers, waiting), CSS

    serve_page(build, listening, tell, desk.status, desk.close, password)


def serve_page(
    build: Callable[[], tuple[Any, str]],
    listening: socket.socket,
    tell: Callable[[str], object],
    status: Callable[[], dict[str, int]],
    close: Callable[[], object],
    password: str | None = None,
) -> None:
    """Serve a page until the process is told to end.

    Args:
        build: gives gradio's `Blocks` and the page's style; it is called once gradio may be
            imported. listening: from `open_port`.
        tell: is given the page's address when the page is there.
        status: what `GET /status` answers. close: ends what is under way, before its readers are
            waited for. password: what a browser has to say first.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # it is read where gradio is imported
    os.environ["HF_HUB_OFFLINE"] = "1"
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI

    blocks, css = build()
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.get("/status")(status)
    system = [gr.themes.Font(font) for font in ("system-ui", "sans-serif")]
    mono = [gr.themes.Font(font) for font in ("ui-monospace", "monospace")]
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_name=host,
        server_port=port,
        theme=gr.themes.Default(font=system, font_mono=mono).set(
            block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300"
        ),
        css=css,
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        max_file_size=1,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
    )
    here = NAMES_OF_HERE | {shown} if is_loopback(host) else None
    config = uvicorn.Config(
        Gate(app, here, password),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=500,
        timeout_graceful_shutdown=1,
    )

    class Server(uvicorn.Server):
        """One that says when it is there, and ends the texts before it waits for their readers."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            tell(f"http://{shown}:{port}/")

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            close()
            # Connections that wait for the next text are cut, which is no news.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets)

    Server(config).run(sockets=[listening])
