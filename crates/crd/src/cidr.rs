//! Address ranges in CIDR notation.

use std::{borrow::Cow, fmt, str::FromStr};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An IPv4 or IPv6 range such as `10.20.0.0/16` or `fd00::/8`, with no bits set beyond its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(IpNet);

/// Why a string is no [`Cidr`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// It cannot be read as an address with a prefix length.
    #[error(
        "{0:?} is not an address range; write it in CIDR notation, such as 10.20.0.0/16, or 10.20.0.7/32 for one address"
    )]
    Malformed(String),
    /// The address has bits beyond the prefix, so it is not clear whether one address or the range is meant.
    #[error("{0} has bits set beyond its prefix; write {1} for the range")]
    HostBits(IpNet, IpNet),
}

impl Cidr {
    /// The range as a type to calculate with.
    #[must_use]
    pub const fn get(self) -> IpNet {
        self.0
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net: IpNet = text.parse().map_err(|_| CidrError::Malformed(text.to_owned()))?;
        if net == net.trunc() {
            Ok(Self(net))
        } else {
            Err(CidrError::HostBits(net, net.trunc()))
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Cidr {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cidr".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // 43 characters hold eight groups of an IPv6 address and its prefix.
        json_schema!({"type": "string", "maxLength": 43, "x-kubernetes-validations": [
            {
                "rule": "isCIDR(self)",
                "message": "must be an address range in CIDR notation, such as 10.20.0.0/16, or 10.20.0.7/32 for one address"
            },
            {
                "rule": "!isCIDR(self) || cidr(self) == cidr(self).masked()",
                "message": "must have no bits set beyond its prefix; end the address in zeros, or use /32 (IPv6: /128) for one"
            }
        ]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ranges_of_both_families() {
        for text in ["10.0.0.0/8", "192.168.1.7/32", "0.0.0.0/0", "fd00::/8", "::1/128"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn says_what_to_write_instead() {
        assert_eq!(
            "10.0.0.5/24".parse::<Cidr>().unwrap_err().to_string(),
            "10.0.0.5/24 has bits set beyond its prefix; write 10.0.0.0/24 for the range"
        );
        for text in ["", "10.0.0.1", "10.0.0.0/33", "example.org/24", "fe80::1%eth0/64"] {
            assert!(matches!(text.parse::<Cidr>(), Err(CidrError::Malformed(_))), "{text}");
        }
    }
}
