"""A worker in Python with two queues of its own: workflows in `orders`, activities in `invoices`.

It serves the SDK's metrics, and prints a line when it polls. An activity lasts until the worker ends.

    worker.py ADDRESS NAMESPACE METRICS_ADDRESS [DEPLOYMENT BUILD_ID]
"""

import asyncio
import sys
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.worker import Worker, WorkerDeploymentConfig


@activity.defn
async def invoice() -> None:
    await asyncio.Event().wait()


@workflow.defn
class Order:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            invoice, task_queue="invoices", start_to_close_timeout=timedelta(minutes=10)
        )


async def main(address: str, namespace: str, metrics: str, version: list[str]) -> None:
    runtime = Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address=metrics)))
    client = await Client.connect(address, namespace=namespace, runtime=runtime)
    deployment = None
    if version:
        deployment = WorkerDeploymentConfig(
            version=WorkerDeploymentVersion(deployment_name=version[0], build_id=version[1]),
            use_worker_versioning=True,
            default_versioning_behavior=VersioningBehavior.PINNED,
        )
    orders = Worker(
        client,
        task_queue="orders",
        workflows=[Order],
        max_concurrent_workflow_tasks=7,
        deployment_config=deployment,
    )
    invoices = Worker(
        client,
        task_queue="invoices",
        activities=[invoice],
        max_concurrent_activities=3,
        deployment_config=deployment,
    )
    print("polls", flush=True)
    await asyncio.gather(orders.run(), invoices.run())


# The SDK imports this file again for each workflow.
if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
