//! The level `restricted` of Pod Security, so that a Pod that would weaken it is refused with the field that does, also in a
//! namespace that enforces nothing.
//!
//! The checks are those of k8s.io/pod-security-admission `policy/check_*.go` up to Kubernetes 1.35. On top of them a desktop
//! gets no service-account token.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, HTTPGetAction, PodSpec, SeccompProfile, SecurityContext, TCPSocketAction, Volume,
};

use super::validate::ValidateError;

/// Refuses what the level `restricted` refuses.
pub(super) fn check(pod: &PodSpec) -> Result<(), ValidateError> {
    host(pod)?;
    of_pod(pod)?;
    for volume in pod.volumes.iter().flatten() {
        of_volume(volume)?;
    }
    let inits = pod
        .init_containers
        .iter()
        .flatten()
        .map(|container| ("initContainers", container));
    let containers = pod.containers.iter().map(|container| ("containers", container));
    for (list, container) in inits.chain(containers) {
        of_container(&format!("spec.{list}[{}]", container.name), container, pod)?;
    }
    Ok(())
}

/// `AppArmor`'s former annotations. kube-apiserver still makes the field of them
/// (kubernetes/kubernetes `pkg/registry/core/pod/strategy.go`, applyAppArmorVersionSkew).
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Refuses annotations that the level `restricted` refuses.
pub(super) fn check_annotations(annotations: &BTreeMap<String, String>) -> Result<(), ValidateError> {
    let is_confined = |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let weak = annotations
        .iter()
        .find(|(key, value)| key.starts_with(APP_ARMOR) && !is_confined(value));
    match weak {
        Some((key, _)) => refuse(
            format!("metadata.annotations[{key}]"),
            "AppArmor must not be off; remove it",
        ),
        None => Ok(()),
    }
}

fn refuse<T>(field: impl Into<String>, problem: &'static str) -> Result<T, ValidateError> {
    Err(ValidateError::PodSecurity {
        field: field.into(),
        problem,
    })
}

fn host(pod: &PodSpec) -> Result<(), ValidateError> {
    let shared = [
        ("spec.hostNetwork", pod.host_network),
        ("spec.hostPID", pod.host_pid),
        ("spec.hostIPC", pod.host_ipc),
    ];
    match shared.iter().find(|(_, shared)| *shared == Some(true)) {
        Some((field, _)) => refuse(*field, "nothing of the node is shared; remove it"),
        None => Ok(()),
    }
}

fn of_pod(pod: &PodSpec) -> Result<(), ValidateError> {
    if pod.automount_service_account_token != Some(false) {
        return refuse(
            "spec.automountServiceAccountToken",
            "a desktop gets no token of the cluster; remove it",
        );
    }
    let Some(context) = &pod.security_context else {
        return refuse("spec.securityContext", "it must stay; remove the override");
    };
    let field = "spec.securityContext";
    if context.run_as_user == Some(0) {
        return refuse(format!("{field}.runAsUser"), "it must not be root");
    }
    if context.sysctls.as_ref().is_some_and(|sysctls| !sysctls.is_empty()) {
        return refuse(
            format!("{field}.sysctls"),
            "kernel settings are the administrator's; remove it",
        );
    }
    if context.windows_options.is_some() {
        return refuse(format!("{field}.windowsOptions"), "a desktop runs on Linux; remove it");
    }
    seccomp(field, context.seccomp_profile.as_ref())?;
    if let Some(options) = &context.se_linux_options {
        selinux(field, options)?;
    }
    app_armor(field, context.app_armor_profile.as_ref())
}

fn app_armor(field: &str, profile: Option<&k8s_openapi::api::core::v1::AppArmorProfile>) -> Result<(), ValidateError> {
    match profile.map(|profile| profile.type_.as_str()) {
        None | Some("RuntimeDefault" | "Localhost") => Ok(()),
        Some(_) => refuse(
            format!("{field}.appArmorProfile"),
            "its type must be RuntimeDefault or Localhost",
        ),
    }
}

fn selinux(field: &str, options: &k8s_openapi::api::core::v1::SELinuxOptions) -> Result<(), ValidateError> {
    let type_ = options.type_.as_deref().unwrap_or_default();
    let allowed = [
        "",
        "container_t",
        "container_init_t",
        "container_kvm_t",
        "container_engine_t",
    ];
    if options.user.is_some() || options.role.is_some() || !allowed.contains(&type_) {
        return refuse(
            format!("{field}.seLinuxOptions"),
            "user and role must be absent, and type one of container_t, container_init_t, container_kvm_t, container_engine_t",
        );
    }
    Ok(())
}

fn seccomp(field: &str, profile: Option<&SeccompProfile>) -> Result<(), ValidateError> {
    match profile.map(|profile| profile.type_.as_str()) {
        None | Some("RuntimeDefault" | "Localhost") => Ok(()),
        Some(_) => refuse(
            format!("{field}.seccompProfile"),
            "its type must be RuntimeDefault or Localhost",
        ),
    }
}

fn of_volume(volume: &Volume) -> Result<(), ValidateError> {
    let field = format!("spec.volumes[{}]", volume.name);
    let allowed = volume.config_map.is_some()
        || volume.csi.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.secret.is_some();
    if !allowed {
        return refuse(
            field,
            "volumes may be configMap, csi, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected and secret",
        );
    }
    let sources = volume
        .projected
        .iter()
        .flat_map(|projected| projected.sources.iter().flatten());
    if sources.into_iter().any(|source| source.service_account_token.is_some()) {
        return refuse(
            format!("{field}.projected"),
            "a desktop gets no token of the cluster; remove serviceAccountToken",
        );
    }
    Ok(())
}

fn of_container(field: &str, container: &Container, pod: &PodSpec) -> Result<(), ValidateError> {
    if container
        .ports
        .iter()
        .flatten()
        .any(|port| port.host_port.is_some_and(|port| port != 0))
    {
        return refuse(
            format!("{field}.ports.hostPort"),
            "ports of the node are not taken; use spec.service",
        );
    }
    asks_itself(field, container)?;
    let field = format!("{field}.securityContext");
    let Some(context) = &container.security_context else {
        return refuse(
            field,
            "set allowPrivilegeEscalation to false and capabilities.drop to [ALL], as restricted needs for every container",
        );
    };
    privileges(&field, context)?;
    let pod_context = pod.security_context.as_ref();
    let of_pod = pod_context.and_then(|context| context.run_as_non_root);
    if context.run_as_non_root.or(of_pod) != Some(true) {
        return refuse(
            format!("{field}.runAsNonRoot"),
            "it must be true, here or in spec.securityContext",
        );
    }
    let profile = pod_context.and_then(|context| context.seccomp_profile.as_ref());
    if context.seccomp_profile.as_ref().or(profile).is_none() {
        return refuse(
            format!("{field}.seccompProfile"),
            "its type must be RuntimeDefault or Localhost",
        );
    }
    seccomp(&field, context.seccomp_profile.as_ref())?;
    if let Some(options) = &context.se_linux_options {
        selinux(&field, options)?;
    }
    app_armor(&field, context.app_armor_profile.as_ref())
}

/// The kubelet asks probes and hooks, from the node's network: with a host of their own they would reach whatever the node reaches.
fn asks_itself(field: &str, container: &Container) -> Result<(), ValidateError> {
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    let probes = probes.into_iter().filter_map(|(name, probe)| {
        let probe = probe.as_ref()?;
        Some((name, probe.http_get.as_ref(), probe.tcp_socket.as_ref()))
    });
    let hooks = container.lifecycle.iter().flat_map(|lifecycle| {
        [
            ("lifecycle.postStart", &lifecycle.post_start),
            ("lifecycle.preStop", &lifecycle.pre_stop),
        ]
    });
    let hooks = hooks.filter_map(|(name, hook)| {
        let hook = hook.as_ref()?;
        Some((name, hook.http_get.as_ref(), hook.tcp_socket.as_ref()))
    });
    for (name, http, tcp) in probes.chain(hooks) {
        let hosts = [("httpGet", host_of_http(http)), ("tcpSocket", host_of_tcp(tcp))];
        if let Some((action, _)) = hosts.iter().find(|(_, host)| host.is_some_and(|host| !host.is_empty())) {
            return refuse(
                format!("{field}.{name}.{action}.host"),
                "the node asks nobody but the Pod; remove it",
            );
        }
    }
    Ok(())
}

fn host_of_http(action: Option<&HTTPGetAction>) -> Option<&str> {
    action?.host.as_deref()
}

fn host_of_tcp(action: Option<&TCPSocketAction>) -> Option<&str> {
    action?.host.as_deref()
}

fn privileges(field: &str, context: &SecurityContext) -> Result<(), ValidateError> {
    if context.privileged == Some(true) {
        return refuse(format!("{field}.privileged"), "it must be false");
    }
    if context.allow_privilege_escalation != Some(false) {
        return refuse(format!("{field}.allowPrivilegeEscalation"), "it must be false");
    }
    if context.run_as_user == Some(0) {
        return refuse(format!("{field}.runAsUser"), "it must not be root");
    }
    if context.proc_mount.as_deref().is_some_and(|mount| mount != "Default") {
        return refuse(format!("{field}.procMount"), "it must be Default");
    }
    if context.windows_options.is_some() {
        return refuse(format!("{field}.windowsOptions"), "a desktop runs on Linux; remove it");
    }
    let capabilities = context.capabilities.as_ref();
    let drops = capabilities.and_then(|capabilities| capabilities.drop.as_ref());
    if !drops.is_some_and(|drops| drops.iter().any(|name| name == "ALL")) {
        return refuse(format!("{field}.capabilities.drop"), "it must have ALL");
    }
    let adds = capabilities
        .into_iter()
        .flat_map(|capabilities| capabilities.add.iter().flatten());
    if adds.into_iter().any(|name| name != "NET_BIND_SERVICE") {
        return refuse(
            format!("{field}.capabilities.add"),
            "only NET_BIND_SERVICE may be added",
        );
    }
    Ok(())
}
