"""The planner: pure arithmetic from observations to decisions.

The law of this layer: no I/O, no clock, no logging, no globals that change; time and randomness are arguments; numpy
is the only third party. Data flows one way: observation -> series, pages -> demand, capacity, lead time -> rehearsal ->
sizing -> idle -> decision. `Planner` is the one mutable object; the live service, the simulator, the back-test, replay
and the tests all call the same one.

Words, one per idea, the same in code, chart, metrics and docs:

service      what users ask for; has one role or more (prefill, decode)
target       one role of a service, the thing with a `/scale`; its id is `namespace/service[/role]`
replica      one serving unit: a pod, or a LeaderWorkerSet group
model server the program in a replica
sample       what one scrape of one replica said
observation  all samples, replica states and held requests of a service, per role, at one time
demand       work that arrives, in replica-seconds per second
capacity     requests/s (or work) a replica carries inside the objective
objective    TTFT and TPOT limits, and the attainment: the share of offered requests that meets both
lead time    decision to serving, measured
horizon      lead time plus one decision period
forecast     the rate at the horizon: that of the last minutes, which nothing beat under half an hour
aim          requests/s one replica is meant to carry
rehearsal    the last hours' demand played against an aim: the share it gives and the replicas it costs
headroom     the factors between rates of the capacity curve and those that pages show to be carried
floor        replicas that the forecast needs at the aim
backlog      queued work, and what clears it in time
decision     a replica count per role, one activity, a mode, reasons
mode         normal, hold (blind for a while), unknown (never seen), shadow (decide, publish, do not act)
"""

from autoscaler.core.planner import Planner

__all__ = ["Planner"]
