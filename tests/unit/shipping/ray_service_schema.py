"""What KubeRay's RayService holds, as a JSON schema: the names and kinds of ray.io/v1, each object closed.

From KubeRay's API reference, of 1.6. The definition itself is 780 kB, most of it Kubernetes' own pod
templates and services, which `kubernetes-validate` knows; here these are objects of any kind.
"""

from __future__ import annotations

from typing import Any


def close(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """An object of these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TEXT: dict[str, Any] = {"type": "string"}
FLAG: dict[str, Any] = {"type": "boolean"}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
OF_KUBERNETES: dict[str, Any] = {"type": "object"}
MANY_OF_KUBERNETES: dict[str, Any] = {"type": "array", "items": OF_KUBERNETES}
TEXTS: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}

CREDENTIAL = close(value=TEXT, valueFrom=OF_KUBERNETES)
AUTOSCALER = close(
    version={"enum": ["v1", "v2"]},
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    idleTimeoutSeconds=COUNT,
    image=TEXT,
    imagePullPolicy=TEXT,
    resources=OF_KUBERNETES,
    securityContext=OF_KUBERNETES,
    env=MANY_OF_KUBERNETES,
    envFrom=MANY_OF_KUBERNETES,
    volumeMounts=MANY_OF_KUBERNETES,
)
HEAD_GROUP = close(
    ("template",),
    template=OF_KUBERNETES,
    rayStartParams=TEXTS,
    headService=OF_KUBERNETES,
    serviceType=TEXT,
    enableIngress=FLAG,
)
WORKER_GROUP = close(
    ("groupName", "maxReplicas", "minReplicas", "template"),
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    numOfHosts=COUNT,
    idleTimeoutSeconds=COUNT,
    suspend=FLAG,
    rayStartParams=TEXTS,
    template=OF_KUBERNETES,
    scaleStrategy=close(workersToDelete={"type": "array", "items": TEXT}),
)
RAY_CLUSTER = close(
    ("headGroupSpec",),
    rayVersion=TEXT,
    suspend=FLAG,
    managedBy=TEXT,
    authOptions=close(mode={"enum": ["disabled", "token"]}, secretName=TEXT, enableK8sTokenAuth=FLAG),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=AUTOSCALER,
    gcsFaultToleranceOptions=close(
        redisAddress=TEXT,
        redisUsername=CREDENTIAL,
        redisPassword=CREDENTIAL,
        externalStorageNamespace=TEXT,
    ),
    headServiceAnnotations=TEXTS,
    headGroupSpec=HEAD_GROUP,
    workerGroupSpecs={"type": "array", "items": WORKER_GROUP},
)
RAY_SERVICE = close(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayService"},
    metadata=OF_KUBERNETES,
    spec=close(
        serveConfigV2=TEXT,
        rayClusterConfig=RAY_CLUSTER,
        serveService=OF_KUBERNETES,
        upgradeStrategy=close(
            type={"enum": ["NewCluster", "None", "NewClusterWithIncrementalUpgrade"]},
            clusterUpgradeOptions=OF_KUBERNETES,
        ),
        excludeHeadPodFromServeSvc=FLAG,
        rayClusterDeletionDelaySeconds=COUNT,
        managedBy=TEXT,
        suspend=FLAG,
    ),
)
