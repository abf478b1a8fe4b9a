//! `novasphere user`: local users of the REST API, in the Secret `novasphere-users`, with the rights of who runs it.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Read as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use novasphere_api::identity::{
    local::{LocalUser, USERS_SECRET, is_name},
    password,
};
use novasphere_runtime::{args::CommonArgs, client};
use serde_json::json;

/// Bytes that are read of a password.
const PASSWORD_READ_BYTES: u64 = 4096;

/// The field manager of the Secret.
const FIELD_MANAGER: &str = "novasphere/user";

/// What to do with local users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a user, or set the password, groups and tenants of one.
    Add(AddUser),
    /// List the users. Passwords are not known.
    List(UserPlace),
    /// Remove a user. Their logins are good no longer; consoles that they opened go on until they end: revoke those.
    Remove(RemoveUser),
}

/// Where the users are.
#[derive(Debug, Args)]
pub struct UserPlace {
    /// The namespace of the installation. Default: that of the kubeconfig's context.
    #[arg(long)]
    namespace: Option<String>,
}

/// A user to make.
#[derive(Debug, Args)]
pub struct AddUser {
    /// The name: letters, digits, '.', '_' and '-', at most 64. In Kubernetes it has the prefix of the configuration, by default `novasphere:`.
    name: String,
    /// A group, without the prefix; may be repeated.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// A tenant that the user may work in; may be repeated.
    #[arg(long = "tenant", value_name = "TENANT")]
    tenants: Vec<String>,
    /// A file with the password. Default: it is read from the standard input.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Let the user not sign in.
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    place: UserPlace,
}

/// A user to remove.
#[derive(Debug, Args)]
pub struct RemoveUser {
    /// The name.
    name: String,
    #[command(flatten)]
    place: UserPlace,
}

/// Does what was asked for, and says so.
pub async fn run_user(common: &CommonArgs, command: UserCommand) -> ExitCode {
    match run(common, command).await {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("novasphere user: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(common: &CommonArgs, command: UserCommand) -> anyhow::Result<String> {
    let place = match &command {
        UserCommand::Add(add) => &add.place,
        UserCommand::List(place) => place,
        UserCommand::Remove(remove) => &remove.place,
    };
    let config = client::identified(common.kube_config().await?, "user")?;
    let namespace = place
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let secrets: Api<Secret> = Api::namespaced(client::Builder::new(config)?.build()?, &namespace);
    match command {
        UserCommand::Add(user) => add(&secrets, user).await,
        UserCommand::List(_) => list(&secrets).await,
        UserCommand::Remove(user) => remove(&secrets, &user.name).await,
    }
}

async fn add(secrets: &Api<Secret>, user: AddUser) -> anyhow::Result<String> {
    if !is_name(&user.name) {
        bail!(
            "{:?} cannot be a user's name: use letters, digits, '.', '_' and '-', at most 64",
            user.name
        );
    }
    let password = read_password(user.password_file.as_ref())?;
    let stored = LocalUser {
        hash: password::hash(&password)?,
        groups: user.groups,
        tenants: user.tenants,
        disabled: user.disabled,
    };
    let value = ByteString(serde_json::to_vec(&stored)?);
    write(secrets, &user.name, Some(value)).await?;
    Ok(format!(
        "user {} can sign in; in Kubernetes the name is novasphere:{0} unless the configuration says otherwise. Bind rights to it, and let novasphere speak \
         for it: api.impersonate in the chart's values",
        user.name
    ))
}

async fn list(secrets: &Api<Secret>) -> anyhow::Result<String> {
    let secret = secrets
        .get_opt(USERS_SECRET)
        .await
        .context("cannot read the Secret with the users")?;
    let data = secret.and_then(|secret| secret.data).unwrap_or_default();
    let rows: Vec<String> = data.iter().map(|(name, value)| row(name, &value.0)).collect();
    if rows.is_empty() {
        return Ok("there are no users; make one: novasphere user add NAME".to_owned());
    }
    Ok(rows.join("\n"))
}

fn row(name: &str, value: &[u8]) -> String {
    match serde_json::from_slice::<LocalUser>(value) {
        Ok(user) => {
            let state = if user.disabled { "disabled" } else { "enabled" };
            format!(
                "{name}\t{state}\tgroups: {}\ttenants: {}",
                user.groups.join(","),
                user.tenants.join(",")
            )
        }
        Err(error) => format!("{name}\tcannot be read: {error}; set the password again"),
    }
}

async fn remove(secrets: &Api<Secret>, name: &str) -> anyhow::Result<String> {
    write(secrets, name, None).await?;
    Ok(format!("user {name} cannot sign in any more"))
}

/// Writes one key, and makes the Secret where there is none.
async fn write(secrets: &Api<Secret>, name: &str, value: Option<ByteString>) -> anyhow::Result<()> {
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"data": {name: value}}));
    match secrets.patch(USERS_SECRET, &params, &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        done => return done.map(drop).context("cannot write the Secret with the users"),
    }
    let Some(value) = value else {
        return Ok(());
    };
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(USERS_SECRET.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(name.to_owned(), value)])),
        ..Secret::default()
    };
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    secrets
        .create(&params, &secret)
        .await
        .map(drop)
        .context("cannot make the Secret with the users")
}

/// Never from the command line, which other users of the machine see.
fn read_password(file: Option<&PathBuf>) -> anyhow::Result<String> {
    let mut text = String::new();
    if let Some(path) = file {
        let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        file.take(PASSWORD_READ_BYTES).read_to_string(&mut text)?;
    } else {
        if std::io::stdin().is_terminal() {
            eprintln!("Password (it is shown while you type; end with Enter and Ctrl-D):");
        }
        std::io::stdin().take(PASSWORD_READ_BYTES).read_to_string(&mut text)?;
    }
    // A file and a terminal end with one.
    let password = text.strip_suffix('\n').unwrap_or(&text);
    Ok(password.strip_suffix('\r').unwrap_or(password).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_no_hash() {
        let user = LocalUser {
            hash: "$argon2id$x".to_owned(),
            groups: vec!["ops".to_owned()],
            ..LocalUser::default()
        };
        let row = row("ann", &serde_json::to_vec(&user).unwrap());
        assert_eq!(row, "ann\tenabled\tgroups: ops\ttenants: ");
        assert!(super::row("ann", b"x").contains("cannot be read"));
    }

    #[test]
    fn a_password_is_read_without_its_line_end() {
        let folder = std::env::temp_dir().join(format!("novasphere-user-{}", std::process::id()));
        std::fs::write(&folder, "hush\r\n").unwrap();
        assert_eq!(read_password(Some(&folder)).unwrap(), "hush");
        std::fs::remove_file(&folder).unwrap();
    }
}
