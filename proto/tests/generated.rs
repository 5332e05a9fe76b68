//! Regenerates the code from the `.proto` files and compares it with what is committed; `REKEY_REGENERATE=1` writes it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop where it stands")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;
use protox::prost_reflect::{DescriptorPool, MessageDescriptor};

/// Module, package, whether stored credentials are bytes, whether clients and servers are made.
const MODULES: [(&str, &str, bool, bool, bool); 4] = [
    ("local", "rekey.v1", false, true, true),
    ("encoded", "rekey.v1", true, false, true),
    ("fleet", "rekey.fleet.v1", false, true, true),
    ("admin", "rekey.admin.v1", false, true, true),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn compile() -> (Vec<u8>, FileDescriptorSet) {
    let mut compiler = protox::Compiler::new([root()]).unwrap();
    compiler.include_imports(true).include_source_info(true);
    for file in ["rekey/v1/credentials.proto", "rekey/fleet/v1/fleet.proto", "rekey/admin/v1/admin.proto"] {
        compiler.open_file(file).unwrap();
    }
    (compiler.encode_file_descriptor_set(), compiler.file_descriptor_set())
}

/// The descriptors without comments: what reflection serves.
fn descriptors(encoded: &[u8]) -> Vec<u8> {
    use protox::prost_reflect::prost::Message as _;
    let mut pool =
        DescriptorPool::decode(encoded).unwrap().file_descriptor_protos().cloned().collect::<Vec<_>>();
    for file in &mut pool {
        file.source_code_info = None;
    }
    FileDescriptorSet { file: pool }.encode_to_vec()
}

fn is_secret(field: &protox::prost_reflect::FieldDescriptor) -> bool {
    let extension = field.parent_pool().get_extension_by_name("rekey.secret").unwrap();
    field.options().get_extension(&extension).as_bool().unwrap_or(false)
}

/// A `Debug` that names every field and shows those that are no secret.
fn redacting_debug(message: &MessageDescriptor) -> String {
    let name = message.name();
    let mut text = format!(
        "impl ::core::fmt::Debug for {name} {{\n    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n        f.debug_struct(\"{name}\")\n"
    );
    for field in message.fields() {
        let field_name = field.name();
        let shown =
            if is_secret(&field) { "&\"[secret]\"".to_owned() } else { format!("&self.{field_name}") };
        writeln!(text, "            .field(\"{field_name}\", {shown})").unwrap();
    }
    text + "            .finish()\n    }\n}\n"
}

fn secret_messages(pool: &DescriptorPool) -> Vec<MessageDescriptor> {
    pool.all_messages()
        .filter(|m| m.package_name().starts_with("rekey") && m.fields().any(|f| is_secret(&f)))
        .collect()
}

/// Turns every field that is a `Credential` into bytes.
fn stored_as_bytes(mut set: FileDescriptorSet) -> FileDescriptorSet {
    for file in set.file.iter_mut().filter(|f| f.package() == "rekey.v1") {
        for field in file.message_type.iter_mut().flat_map(|m| m.field.iter_mut()) {
            if field.type_name() == ".rekey.v1.Credential" {
                field.type_name = None;
                field.set_type(Type::Bytes);
            }
        }
    }
    set
}

fn generate() -> BTreeMap<PathBuf, Vec<u8>> {
    let (encoded, set) = compile();
    let pool = DescriptorPool::decode(encoded.as_slice()).unwrap();
    let secrets = secret_messages(&pool);
    assert!(secrets.len() >= 5, "the option (rekey.secret) is no longer read");
    let mut files = BTreeMap::from([(PathBuf::from("descriptors.binpb"), descriptors(&encoded))]);
    for (module, package, bytes, client, server) in MODULES {
        let out = tempfile::tempdir().unwrap();
        let mut set = if bytes { stored_as_bytes(set.clone()) } else { set.clone() };
        set.file.retain(|f| {
            f.package() == package || f.package() == "rekey" || f.package().starts_with("google")
        });
        let mut builder = tonic_prost_build::configure()
            .out_dir(out.path())
            .build_client(client)
            .build_server(server)
            .build_transport(false)
            .emit_rerun_if_changed(false)
            .skip_debug(secrets.iter().map(|m| format!(".{}", m.full_name())));
        for field in ["GetResponse.credential", "FetchResponse.credential", "WatchResponse.credential"] {
            if bytes {
                builder = builder.bytes(format!(".rekey.v1.{field}"));
            }
        }
        builder.compile_fds(set).unwrap();
        let mut code = fs::read_to_string(out.path().join(format!("{package}.rs"))).unwrap();
        for message in secrets.iter().filter(|m| m.package_name() == package) {
            code += &redacting_debug(message);
        }
        files.insert(PathBuf::from(format!("{module}/{package}.rs")), code.into_bytes());
    }
    files
}

#[test]
fn the_committed_code_is_what_the_proto_files_say() {
    let folder = root().join("src/generated");
    for (path, wanted) in generate() {
        let path = folder.join(path);
        if std::env::var_os("REKEY_REGENERATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &wanted).unwrap();
        }
        let found = fs::read(&path).unwrap_or_default();
        assert!(found == wanted, "{} is out of date: run `make generate`", shown(&path));
    }
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
