"""The short way while answers are sampled: a conversation that is goes the long way, which can keep its answer.

`app` takes this in place of `LaneRoutes` when something is sampled; without that the short way does not know of it.
"""

from shipway.gateway.conversation import Conversation
from shipway.gateway.lane_route import Arm, LaneRoute
from shipway.gateway.lane_routes import LaneRoutes
from shipway.gateway.sampling import AnswerSampler
from shipway.gateway.validate import ModelCall


class SampledLaneRoutes(LaneRoutes):
    """The routes of the present snapshot, but for what `sampler` takes; the wiring sets it."""

    sampler: AnswerSampler

    def arm(self, route: LaneRoute, call: ModelCall, conversation: Conversation) -> Arm | None:
        """Return the engine that serves a request, None when the long way has to find it."""
        if self.sampler.takes(call.route, call.endpoint, conversation.id):
            return None
        return super().arm(route, call, conversation)
