//! The cloud-init disk, and how SSH keys get onto it.
//!
//! The keys are written into the user data, as its `ssh_authorized_keys`. `KubeVirt`'s own way (`accessCredentials`) needs
//! a Secret, and the right to write Secrets in every namespace is a high price for a few public keys. The keys are added
//! as text at the end of a `#cloud-config` document: reading YAML and writing it again would change values that YAML 1.1
//! and 1.2 read differently, such as `permissions: 0644`.

use novasphere_crd::{CloudInit as Spec, VirtualMachineTemplate};

use super::{
    super::validated::{CloudInitContent, ValidatedCloudInit},
    ValidateError,
};

/// The longest inline user data, in bytes (kubevirt/kubevirt `vmi-create-admitter.go`, `cloudInitUserMaxLen`).
pub(super) const USER_DATA_BYTES_LIMIT: usize = 2048;

const CLOUD_CONFIG_HEADER: &str = "#cloud-config";

/// The cloud-init disk of a template, if it needs one.
pub(super) fn validate(template: &VirtualMachineTemplate) -> Result<Option<ValidatedCloudInit>, ValidateError> {
    let keys = &template.ssh_authorized_keys;
    let Some(spec) = &template.cloud_init else {
        if keys.is_empty() {
            return Ok(None);
        }
        let user_data = CloudInitContent::Inline(within_limit(with_keys(&format!("{CLOUD_CONFIG_HEADER}\n"), keys))?);
        return Ok(Some(ValidatedCloudInit {
            format: novasphere_crd::CloudInitType::default(),
            user_data,
            network_data: None,
        }));
    };
    Ok(Some(ValidatedCloudInit {
        format: spec.r#type,
        user_data: user_data(spec, keys)?,
        network_data: network_data(spec)?,
    }))
}

fn user_data(spec: &Spec, keys: &[String]) -> Result<CloudInitContent, ValidateError> {
    match (&spec.user_data, &spec.secret_ref) {
        (Some(text), None) if keys.is_empty() => Ok(CloudInitContent::Inline(within_limit(text.clone())?)),
        (Some(text), None) => {
            takes_keys(text).map_err(ValidateError::SshKeys)?;
            Ok(CloudInitContent::Inline(within_limit(with_keys(text, keys))?))
        }
        (None, Some(secret)) if keys.is_empty() => Ok(CloudInitContent::Secret(secret.clone())),
        (None, Some(_)) => Err(ValidateError::SshKeys(
            "keys cannot be added to user data that is in a Secret; write them into the Secret, as ssh_authorized_keys",
        )),
        _ => Err(ValidateError::NotExactlyOne {
            field: "spec.virtualMachine.template.cloudInit".into(),
            options: "userData and secretRef",
        }),
    }
}

fn network_data(spec: &Spec) -> Result<Option<CloudInitContent>, ValidateError> {
    match (&spec.network_data, &spec.network_data_secret_ref) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(CloudInitContent::Inline(text.clone()))),
        (None, Some(secret)) => Ok(Some(CloudInitContent::Secret(secret.clone()))),
        (Some(_), Some(_)) => Err(ValidateError::Excluded {
            field: "spec.virtualMachine.template.cloudInit.networkData".into(),
            problem: "networkDataSecretRef is given as well; keep one of them",
        }),
    }
}

fn within_limit(user_data: String) -> Result<String, ValidateError> {
    match user_data.len() {
        ..=USER_DATA_BYTES_LIMIT => Ok(user_data),
        length => Err(ValidateError::UserDataTooLong { length }),
    }
}

/// Whether a line at the end of the text adds a key to its top-level mapping.
fn takes_keys(text: &str) -> Result<(), &'static str> {
    let mut lines = text.lines().skip_while(|line| line.starts_with("## template:"));
    if lines.next().map(str::trim_end) != Some(CLOUD_CONFIG_HEADER) {
        return Err(
            "the user data does not begin with #cloud-config, so keys cannot be added to it; add them there yourself",
        );
    }
    let mut contents = lines
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .peekable();
    contents.next_if(|line| line.trim_end() == "---");
    if contents.peek().is_some_and(|line| line.starts_with(['{', '['])) {
        return Err(
            "the user data is written as {...}, so keys cannot be added to it; write one `key: value` per line",
        );
    }
    for line in contents {
        if matches!(line.trim_end(), "---" | "...") {
            return Err("the user data has several YAML documents, so keys cannot be added to it; keep one");
        }
        let key = line.split(':').next().unwrap_or_default();
        if key.trim_end().trim_matches(['"', '\'']) == "ssh_authorized_keys" {
            return Err("the user data has ssh_authorized_keys itself; keep the keys in one of the two places");
        }
    }
    Ok(())
}

fn with_keys(text: &str, keys: &[String]) -> String {
    let mut text = text.to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str("ssh_authorized_keys:\n");
    for key in keys {
        // A JSON string is a YAML string, whatever is in it.
        text.push_str("- ");
        text.push_str(&serde_json::Value::from(key.trim()).to_string());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8Ht8Z3j6yDWPBHQtOp/R9rjWvfMYo3MSA/K6q8D86r me@here";

    fn template(user_data: Option<&str>, secret_ref: Option<&str>, keys: &[&str]) -> VirtualMachineTemplate {
        let cloud_init = (user_data.is_some() || secret_ref.is_some()).then(|| Spec {
            user_data: user_data.map(str::to_owned),
            secret_ref: secret_ref.map(str::to_owned),
            ..Spec::default()
        });
        VirtualMachineTemplate {
            cloud_init,
            ssh_authorized_keys: keys.iter().map(|&key| key.to_owned()).collect(),
            ..VirtualMachineTemplate::default()
        }
    }

    fn user_data_of(template: &VirtualMachineTemplate) -> String {
        match validate(template).unwrap().unwrap().user_data {
            CloudInitContent::Inline(text) => text,
            CloudInitContent::Secret(name) => panic!("a Secret {name}"),
        }
    }

    #[test]
    fn no_cloud_init_and_no_keys_is_no_disk() {
        assert_eq!(validate(&template(None, None, &[])).unwrap(), None);
    }

    #[test]
    fn keys_alone_make_a_cloud_config() {
        assert_eq!(
            user_data_of(&template(None, None, &[KEY, "ssh-rsa AAAA \"odd\" comment\n"])),
            format!("#cloud-config\nssh_authorized_keys:\n- \"{KEY}\"\n- \"ssh-rsa AAAA \\\"odd\\\" comment\"\n")
        );
    }

    #[test]
    fn keys_are_added_to_a_cloud_config() {
        let read: serde_json::Value = serde_saphyr::from_str(&user_data_of(&template(
            Some("## template: jinja\n#cloud-config\n---\n# a comment\nhostname: web\nwrite_files:\n- path: /etc/a\n  permissions: '0644'"),
            None,
            &[KEY],
        )))
        .unwrap();
        assert_eq!(
            read,
            serde_json::json!({
                "hostname": "web",
                "write_files": [{"path": "/etc/a", "permissions": "0644"}],
                "ssh_authorized_keys": [KEY],
            })
        );
    }

    #[test]
    fn user_data_without_keys_is_left_as_it_is() {
        let script = "#!/bin/sh\necho hello\n";
        assert_eq!(user_data_of(&template(Some(script), None, &[])), script);
    }

    #[test]
    fn keys_that_cannot_be_added_are_told() {
        for (user_data, secret, words) in [
            (Some("#!/bin/sh\n"), None, "does not begin with #cloud-config"),
            (
                Some("#cloud-config\n{hostname: a}\n"),
                None,
                "one `key: value` per line",
            ),
            (Some("#cloud-config\na: 1\n---\nb: 2\n"), None, "several YAML documents"),
            (
                Some("#cloud-config\nssh_authorized_keys: []\n"),
                None,
                "in one of the two places",
            ),
            (
                Some("#cloud-config\n'ssh_authorized_keys' :\n- a\n"),
                None,
                "in one of the two places",
            ),
            (None, Some("secret"), "write them into the Secret"),
        ] {
            let error = validate(&template(user_data, secret, &[KEY])).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn more_than_kubevirt_takes_is_told() {
        let long = "k".repeat(2020);
        let error = validate(&template(None, None, &[&long])).unwrap_err();
        assert!(
            matches!(error, ValidateError::UserDataTooLong { length: 2049.. }),
            "{error}"
        );
        assert!(error.to_string().contains("secretRef"));
    }
}
