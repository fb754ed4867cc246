"""Faults found before the service is up, so without an HTTP status of their own."""

from __future__ import annotations

from serving.errors.base import RollcallError


class ConfigurationError(RollcallError):
    code = "configuration_error"
    title = "The configuration is not valid"
    cure = "Correct the named key; docs/configuration.md lists them all."


class ProviderUnavailable(ConfigurationError):
    code = "provider_unavailable"
    title = "What was asked to run the models is not here"
    cure = (
        "For a GPU: install rollcall[gpu] instead of rollcall[cpu] (`make run GPU=1`), check the driver with "
        "nvidia-smi, and let the replicas have the GPU: num_gpus under ray_actor_options in the serve "
        "config, and no CUDA_VISIBLE_DEVICES that hides it. For OpenVINO: rollcall[openvino]. To do without: "
        "pack.providers [cpu]."
    )


class InstallationConflict(ConfigurationError):
    code = "installation_conflict"
    title = "The Python environment holds packages that exclude each other"
    cure = "Run the pip commands that the message gives, in this order; or make the environment anew."


class CommandError(RollcallError):
    code = "command_error"
    title = "The command cannot do that"
    cure = "The message says what to do; the command's --help shows all that it takes."


class RayNotStarted(RollcallError):
    code = "ray_not_started"
    title = "Ray did not start"
    cure = (
        "A machine that is very busy is the usual reason (Ray gives itself 30 s): run the command again. "
        "If it comes again, read the newest logs below /tmp/ray/session_latest/logs."
    )


class ClusterUnreachable(CommandError):
    code = "cluster_unreachable"
    title = "The Ray cluster does not answer"
    cure = (
        "Run it on the cluster's head, or name Ray's dashboard there: --address http://HEAD:8265. `ray "
        "status` says whether the head runs; where Ray asks for a token, RAY_AUTH_MODE and "
        "RAY_AUTH_TOKEN_PATH must be set here as they are there."
    )


class StoresNotReady(CommandError):
    code = "stores_not_ready"
    title = "What the service needs is not there"
    cure = (
        "Start what the message names, or correct its address, user and secret (database_url, gallery.*, "
        "rate_limits.redis_url), then run the command again; `rollcall doctor` looks at all else, too."
    )


class DeploymentFailed(CommandError):
    code = "deployment_failed"
    title = "The service was not deployed"
    cure = (
        "Mend what the message names, and run the command again: what failed is then built anew. The whole "
        "story is in `serve status` and in the log of a node (docs/logs.md)."
    )


class PackError(RollcallError):
    code = "pack_error"
    title = "A model pack cannot be used"
    cure = "The message names the file and the fault; `rollcall packs fetch ID` gets a pack's files again."


class ManifestInvalid(PackError):
    code = "manifest_invalid"
    title = "A pack's manifest is not valid"
    cure = "Correct the named key of the named file; docs/packs.md describes every field."


class LicenceNotAccepted(PackError):
    code = "licence_not_accepted"
    title = "The licence of a model pack has not been accepted"
    cure = (
        "Read it with `rollcall packs info ID`. To accept: `rollcall packs fetch ID --accept-licence`, or "
        "name the pack in the setting pack.accept_licence (ROLLCALL_PACK__ACCEPT_LICENCE='[\"ID\"]')."
    )


class PackDownloadFailed(PackError):
    code = "pack_download_failed"
    title = "The files of a model pack could not be downloaded"
    cure = (
        "Check the network and proxy (HTTPS_PROXY), or name a mirror in the setting pack.mirror_url; run the "
        "command again, it goes on where it stopped. Without a network: `rollcall packs add DIR` takes the "
        "files from a folder."
    )


class PackNotCalibrated(PackError):
    code = "pack_not_calibrated"
    title = "A model pack has no calibration, so its scores mean nothing yet"
    cure = "Run `rollcall calibrate` with pictures of your own people, or of a data set (docs/packs.md)."


class EvaluationDataError(RollcallError):
    code = "evaluation_data_error"
    title = "The pictures or lists given cannot be measured"
    cure = "Give a folder with a sub-folder of pictures per person, or pairs: see docs/evaluation.md."
