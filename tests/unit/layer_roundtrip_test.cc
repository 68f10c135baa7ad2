// Unpacks layers with the programs that clients use, and compares them with the store: contents, modes, times, targets.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>

#include "layer_test_store.h"

using namespace nixery;
using namespace nixery::layer;
using namespace nixery::test;

namespace {

void make_nasty(Store& store, const std::string& name) {
  store.file(name, "bin/tool", "#!/bin/sh\n", 0555);
  store.file(name, "bin/setuid", "x", 04755);
  store.file(name, "empty-file", "");
  store.directory(name, "empty-directory");
  store.file(name, "several-members", noise(3'300'000, 2));
  store.file(name, "twin-1", noise(100'000, 3));
  store.file(name, "twin-2", noise(100'000, 3));
  store.file(name, "caf\xc3\xa9", "UTF-8");
  store.file(name, "latin-\xe9\xff", "not UTF-8");
  store.file(name, std::string(200, 'x') + "\xe9", "long and not UTF-8");
  store.file(name, std::string(255, 'n'), "long without a slash");
  std::string deep;
  for (int i = 0; i < 12; ++i) deep += fmt::format("directory-number-{:02}-of-many/", i);
  store.file(name, deep + "file", "deep");
  store.symlink(name, "dangling", "/nix/store/nowhere");
  store.symlink(name, "long-target", "/nix/store/" + std::string(300, 't'));
  store.symlink(name, "long-latin-target", std::string(300, 't') + "\xe9");
  for (int i = 0; i < 3000; ++i) store.symlink(name, fmt::format("links/{:04}", i), "../bin/tool");
  const fs::path sparse = store.file(name, "sparse", "begin", 0644);
  CHECK(truncate(sparse.c_str(), 2'000'000) == 0);
  // Extended attributes that the file system or the user does not support are left out of the comparison.
  const fs::path tool = store.place(name) / "bin/tool";
  CHECK((setxattr(tool.c_str(), "user.note", "x", 1, 0) == 0 || errno == ENOTSUP));
  constexpr std::array<unsigned char, 20> net_raw = {1, 0, 0, 2, 0, 32};  // version 2, effective, permitted
  CHECK((setxattr(tool.c_str(), "security.capability", net_raw.data(), net_raw.size(), 0) == 0 || errno == EPERM ||
         errno == ENOTSUP));
}

struct Image {
  Store store;
  TemporaryDirectory dir;
  std::vector<LayerBlob> layers;
  tree::Layout layout{dir.path() / "tree", dir.path() / "state"};

  explicit Image(Encoding encoding) {
    make_nasty(store, "nasty");
    store.file("script", "", "echo\n", 0555);
    const store::PathInfo nasty = store.info("nasty"), script = store.info("script");
    std::vector<Contents> contents(2);
    contents[0].paths = {&script, &nasty};
    contents[1].entries = {Entry::directory("bin"), Entry::symlink("bin/sh", script.path.str()),
                           Entry::directory("tmp", 01777)};
    const tree::DirectoryStore blobs(layout.tree, layout.state);
    Writer writer(blobs, {2, store.root()});
    layers = writer.write(contents, encoding).layers;
  }

  // `root` is a client's unpacked image.
  void check(const fs::path& root) const {
    for (const char* name : {"nasty", "script"})
      CHECK(describe(root / store.info(name).path.str().substr(1), false) == describe(store.place(name), true));
    struct stat info {};
    REQUIRE(stat((root / "nix/store").c_str(), &info) == 0);
    CHECK((info.st_mode & 07777u) == 0755);
    REQUIRE(stat((root / "tmp").c_str(), &info) == 0);
    CHECK((info.st_mode & 07777u) == 01777);
    const fs::path tool = root / store.info("nasty").path.str().substr(1) / "bin/tool";
    for (const char* attribute : {"user.note", "security.capability"})
      CHECK(getxattr(tool.c_str(), attribute, nullptr, 0) == -1);
    struct stat twin {};
    const fs::path place = root / store.info("nasty").path.str().substr(1);
    stat((place / "twin-1").c_str(), &info);
    stat((place / "twin-2").c_str(), &twin);
    CHECK(info.st_ino == twin.st_ino);
  }
};

void put(const fs::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

}  // namespace

TEST_CASE("GNU tar unpacks our layers as the store has them") {
  for (const char* name : {"gzip-fast", "zstd-fast"}) {
    const Image written(*Encoding::parse(name));
    const std::string root = (written.dir.path() / "root").string();
    fs::create_directory(root);
    for (const LayerBlob& blob : written.layers) {
      const std::string log = (written.dir.path() / "log").string();
      CHECK(shell(fmt::format("{} -dc < {} | LC_ALL=C tar x -p --no-same-owner -C {} > {} 2>&1",
                              name[0] == 'g' ? "gzip" : "zstd -q", written.layout.blob(blob.digest).string(), root,
                              log)));
      // GNU tar warns about hdrcharset, which libarchive requires before long names that are not UTF-8.
      std::istringstream said(read_file(log));
      for (std::string line; std::getline(said, line);)
        CHECK(line == "tar: Ignoring unknown extended header keyword 'hdrcharset'");
    }
    written.check(root);
    make_writable(root);
  }
}

TEST_CASE("umoci, and so Go's archive/tar, unpacks our layers as the store has them") {
  const Image written(*Encoding::parse("gzip-fast"));
  const fs::path oci = written.dir.path() / "oci", blobs = oci / "blobs/sha256";
  fs::create_directories(blobs);
  std::string layers, diff_ids;
  for (const LayerBlob& blob : written.layers) {
    fs::copy_file(written.layout.blob(blob.digest), blobs / blob.digest.hex());
    layers += fmt::format(R"({}{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":{}}})",
                          layers.empty() ? "" : ",", blob.digest.str(), blob.size);
    diff_ids += fmt::format(R"({}"{}")", diff_ids.empty() ? "" : ",", blob.diff_id.str());
  }
  const auto add = [&](const std::string& json, const std::string& type) {
    const auto digest = image::Digest::of(json);
    put(blobs / digest.hex(), json);
    return fmt::format(R"({{"mediaType":"application/vnd.oci.image.{}.v1+json","digest":"{}","size":{})", type,
                       digest.str(), json.size());
  };
  const std::string config =
      add(fmt::format(
              R"({{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}})",
              diff_ids),
          "config");
  const std::string manifest =
      add(fmt::format(R"({{"schemaVersion":2,"config":{}}},"layers":[{}]}})", config, layers), "manifest");
  put(oci / "index.json",
      fmt::format(
          R"({{"schemaVersion":2,"manifests":[{},"annotations":{{"org.opencontainers.image.ref.name":"x"}}}}]}})",
          manifest));
  put(oci / "oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
  const std::string bundle = (written.dir.path() / "bundle").string();
  const std::string log = (written.dir.path() / "log").string();
  const bool unpacked = shell(fmt::format("umoci unpack {} --image {}:x {} > {} 2>&1",
                                          geteuid() == 0 ? "" : "--rootless", oci.string(), bundle, log));
  INFO(read_file(log));
  REQUIRE(unpacked);
  written.check(fs::path(bundle) / "rootfs");
  make_writable(bundle);
}

// Too slow with sanitizers, which find nothing here that smaller files do not show.
TEST_CASE("GNU tar reads a sparse file of more than 8 GiB, and the file after it" * doctest::skip(sanitized)) {
  constexpr off_t size = (off_t{8} << 30) + 12345;
  Store store;
  const TemporaryDirectory dir;
  const fs::path big = store.file("big", "a-big", "begin");
  {
    std::fstream file(big, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(size - 3);
    file << "end";
  }
  store.file("big", "b-after", "still in step");
  const store::PathInfo info = store.info("big");
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  Contents contents;
  contents.paths = {&info};
  const tree::DirectoryStore blobs(layout.tree, layout.state);
  Writer writer(blobs, {0, store.root()});
  const auto encoding = *Encoding::parse("zstd-fast");  // gzip takes a minute for so many zeros
  const LayerBlob blob = writer.write({contents}, encoding).layers.front();
  CHECK(blob.tar_size > static_cast<std::uint64_t>(size));
  const std::string list = (dir.path() / "list").string(), place = info.path.str().substr(1);
  // cmp checks the extracted file; the rest of the listing shows that tar found the next header.
  CHECK(shell(fmt::format("zstd -q -dc < {} | tar x -v --to-command='cmp - {}/$(basename \"$TAR_FILENAME\")' > {}",
                          layout.blob(blob.digest).string(), store.place("big").string(), list)));
  CHECK(read_file(list) == fmt::format("nix/\nnix/store/\n{0}/\n{0}/a-big\n{0}/b-after\n", place));
}
