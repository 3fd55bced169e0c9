"""`headhunt dashboard`: Optuna's own dashboard on a study, on localhost."""

from contextlib import suppress
from typing import Annotated

import typer

from ._stores import StoreOption, named_store, refuse

app = typer.Typer(add_completion=False)


@app.command()
def dashboard(
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on localhost; 0 is any that is free.")
    ] = 8080,
    store: StoreOption = None,
) -> None:
    """Show STUDY in Optuna's dashboard until Ctrl-C, on this machine alone.

    It shows a copy that follows the study: what is clicked there changes nothing. A trial's true
    state stands in its attribute `state`: Optuna has no infeasible, and shows such a trial as
    pruned.
    """
    from ...stores import StoreError
    from ..dashboard import HOST, DashboardError, Shown, serve

    try:
        server = serve(Shown(named_store(store), study), port)
    except (StoreError, DashboardError) as error:
        refuse(str(error))
    with server, suppress(KeyboardInterrupt):
        typer.echo(f"http://{HOST}:{server.server_port}/dashboard/studies/0 (Ctrl-C ends it)")
        server.serve_forever()
