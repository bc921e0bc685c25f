"""``services/keeper``: owns the keeper process, and is restarted with a new one when it dies."""

from __future__ import annotations

from antiphon.actors import Actor, ActorContext, Reason
from antiphon.services.worker.keeper import Keeper, KeeperLost
from antiphon.services.worker.protocol import Gone, KeeperMessage, Launch


class KeeperActor(Actor[KeeperMessage]):
    """Starts commands. When the keeper dies, it kills what that one left, and fails."""

    async def pre_start(self, ctx: ActorContext[KeeperMessage]) -> None:
        self._keeper = await Keeper.start()
        ctx.at_end(self._keeper.close)
        ctx.pipe_to_self(self._keeper.wait_lost(), Gone)

    async def handle(self, msg: KeeperMessage, ctx: ActorContext[KeeperMessage]) -> None:
        match msg:
            case Launch():
                try:
                    session = self._keeper.launch(msg.argv, cwd=msg.cwd, env=msg.env)
                except (KeeperLost, OSError) as error:
                    ctx.reply_error(msg, error)
                else:
                    msg.adopt(session)
                    ctx.reply(msg, None)
            case Gone(why):
                await self._keeper.clean_up()
                raise KeeperLost(f"the keeper process is gone: {why}")

    async def post_stop(self, reason: Reason, ctx: ActorContext[KeeperMessage]) -> None:
        await self._keeper.aclose()
