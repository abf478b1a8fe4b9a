//! The account that a controller of a test acts as: one with the rights of the
//! chart's and no more, so that a missing right fails a test.

use anyhow::Result;
use k8s_openapi::api::{authorization::v1::SelfSubjectAccessReview, core::v1::Namespace};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use novasphere_controller::rbac::{CLUSTER_RULES, NAMESPACE_RULES, Rule};
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    wait::{self, Seen},
};

/// A `ServiceAccount` that a controller impersonates.
#[derive(Clone, Debug)]
pub struct Account {
    /// Where it lives, and where its lease is.
    pub namespace: String,
    name: String,
}

impl Account {
    /// Makes the rights of a controller for an account of this namespace, and
    /// waits until the apiserver knows them. They go with the namespace.
    ///
    /// # Errors
    /// When the apiserver refuses them.
    pub async fn create(cluster: &Cluster, namespace: &str, name: &str) -> Result<Self> {
        Self::with_rules(cluster, namespace, name, CLUSTER_RULES, NAMESPACE_RULES).await
    }

    /// The same with the rights of another role.
    ///
    /// # Errors
    /// When the apiserver refuses them.
    pub async fn with_rules(
        cluster: &Cluster,
        namespace: &str,
        name: &str,
        cluster_rules: &[Rule],
        namespace_rules: &[Rule],
    ) -> Result<Self> {
        let account = Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let client = cluster.client().await?;
        let owner = Api::<Namespace>::all(client.clone()).get(namespace).await?;
        let unique = format!("novasphere-e2e-{namespace}-{name}");
        let owners = json!([{"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": owner.uid()}]);
        let subjects = json!([{"kind": "ServiceAccount", "namespace": namespace, "name": name}]);
        // As the chart grants them to a role that watches one namespace.
        let (everywhere, watched): (Vec<&Rule>, Vec<&Rule>) =
            cluster_rules.iter().partition(|rule| rule.is_cluster_scoped());
        let here = watched.into_iter().chain(namespace_rules).collect();
        for (kind, local, rules) in [("ClusterRole", None, everywhere), ("Role", Some(namespace), here)] {
            let metadata = match local {
                None => json!({"name": unique, "ownerReferences": owners}),
                Some(_) => json!({"name": unique, "namespace": namespace}),
            };
            let rules: Vec<Value> = rules.into_iter().map(policy_rule).collect();
            apply(
                &client,
                kind,
                local,
                &unique,
                json!({"metadata": metadata, "rules": rules}),
            )
            .await?;
            let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": unique});
            let binding = json!({"metadata": metadata, "roleRef": reference, "subjects": subjects});
            apply(&client, &format!("{kind}Binding"), local, &unique, binding).await?;
        }
        account.wait_for_rights(cluster).await?;
        Ok(account)
    }

    /// One that the chart has made, with its rights.
    #[must_use]
    pub fn installed(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The user that the apiserver and its audit log know it as.
    #[must_use]
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// How to connect as this account.
    ///
    /// # Errors
    /// When the cluster's kubeconfig is not usable.
    pub async fn config(&self, cluster: &Cluster) -> Result<Config> {
        let mut config = cluster.config("novasphere-controller").await?;
        config.auth_info.impersonate = Some(self.user());
        config.default_namespace.clone_from(&self.namespace);
        Ok(config)
    }

    /// The same as the text of a kubeconfig.
    ///
    /// # Errors
    /// When the cluster's kubeconfig is not usable.
    pub fn kubeconfig(&self, cluster: &Cluster) -> Result<String> {
        let text = std::fs::read_to_string(&cluster.kubeconfig)?;
        // Not by kube's own type, which hides keys when it is written.
        let mut kubeconfig: Value = serde_saphyr::from_str(&text)?;
        for (list, entry, key, value) in [
            ("users", "user", "as", self.user()),
            ("contexts", "context", "namespace", self.namespace.clone()),
        ] {
            for item in kubeconfig
                .get_mut(list)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if let Some(entry) = item.get_mut(entry).and_then(Value::as_object_mut) {
                    entry.insert(key.to_owned(), json!(value));
                }
            }
        }
        Ok(serde_json::to_string(&kubeconfig)?)
    }

    async fn wait_for_rights(&self, cluster: &Cluster) -> Result<()> {
        let client = Client::try_from(self.config(cluster).await?)?;
        // The last of the rules that were made.
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "group": "coordination.k8s.io", "resource": "leases", "verb": "create", "namespace": self.namespace,
            }},
        });
        let review: SelfSubjectAccessReview = serde_json::from_value(review)?;
        let reviews: Api<SelfSubjectAccessReview> = Api::all(client);
        wait::until(format!("the rights of {}", self.user()), wait::SHORT, || async {
            let answer = reviews.create(&PostParams::default(), &review).await?;
            let allowed = answer.status.is_some_and(|status| status.allowed);
            Ok(Seen::some(allowed.then_some(()), "not allowed to create a lease"))
        })
        .await
    }
}

fn policy_rule(rule: &Rule) -> Value {
    let mut policy = json!({"apiGroups": [rule.group], "resources": rule.resources, "verbs": rule.verbs});
    if let (Some(policy), false) = (policy.as_object_mut(), rule.names.is_empty()) {
        policy.insert("resourceNames".to_owned(), json!(rule.names));
    }
    policy
}

async fn apply(client: &Client, kind: &str, namespace: Option<&str>, name: &str, mut object: Value) -> Result<()> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", kind));
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    if let Some(object) = object.as_object_mut() {
        object.insert("apiVersion".to_owned(), json!(resource.api_version));
        object.insert("kind".to_owned(), json!(kind));
    }
    api.patch(
        name,
        &PatchParams::apply("novasphere-e2e").force(),
        &Patch::Apply(object),
    )
    .await?;
    Ok(())
}
