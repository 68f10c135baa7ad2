#include <archive.h>
#include <archive_entry.h>
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <clocale>
#include <memory>

#include "error.h"
#include "layer/encoding.h"
#include "layer/nar.h"
#include "layer/tar.h"
#include "layer/walk.h"
#include "layer_test_store.h"

using namespace nixery;
using namespace nixery::layer;
using namespace nixery::test;

namespace {

using Kind = Entry::Kind;

const std::string end_of_archive(tar_tail_size, '\0');

std::string field(const std::string& header, std::size_t at, std::size_t size) {
  return header.substr(at, size).c_str();  // up to its NUL
}

struct Read {
  std::string name, target, data;
  std::int64_t size;
  unsigned mode;
  bool hard_link;
};

// Reads with libarchive; a warning fails the test.
std::vector<Read> read_with_libarchive(const std::string& tar, bool with_data = true) {
  const std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
  archive_read_support_format_tar(reader.get());
  REQUIRE(archive_read_open_memory(reader.get(), tar.data(), tar.size()) == ARCHIVE_OK);
  std::vector<Read> entries;
  archive_entry* entry = nullptr;
  for (int code; (code = archive_read_next_header(reader.get(), &entry)) != ARCHIVE_EOF;) {
    INFO(archive_error_string(reader.get()));
    REQUIRE(code == ARCHIVE_OK);
    const char* target = archive_entry_symlink(entry);
    const char* first = archive_entry_hardlink(entry);
    Read read{archive_entry_pathname(entry), target ? target : first ? first : "", {},
              archive_entry_size(entry),     archive_entry_mode(entry) & 07777u,   first != nullptr};
    CHECK(archive_entry_mtime(entry) == 1);
    CHECK(archive_entry_uid(entry) == 0);
    if (!with_data) return {read};
    read.data.resize(static_cast<std::size_t>(read.size));
    if (read.size > 0) CHECK(archive_read_data(reader.get(), read.data.data(), read.data.size()) == read.size);
    entries.push_back(std::move(read));
  }
  return entries;
}

std::string tar_of(const Store& store, const std::string& name, std::size_t buffer_size = 4096) {
  StringSink sink(buffer_size);
  append_store_path(sink, store.root(), store.info(name).path);
  sink.finish();
  CHECK(sink.total() == sink.bytes.size());
  return sink.bytes;
}

// A store path with all known difficult cases.
void make_nasty(Store& store, const std::string& name) {
  store.file(name, "bin/tool", "#!/bin/sh\n", 0555);
  store.file(name, "bin/setuid", "x", 04755);
  store.file(name, "empty-file", "");
  store.directory(name, "empty-directory");
  store.file(name, "a-b", "sorts between a and a/c by whole names");
  store.file(name, "a/c", "c");
  store.file(name, "exactly-one-block", noise(512, 1));
  store.file(name, "big", noise(3'500'000, 2));
  store.file(name, "twin-1", noise(100'000, 3));
  fs::create_hard_link(store.place(name) / "twin-1", store.place(name) / "twin-2");
  store.file(name, "twin-3", noise(100'000, 3));
  store.file(name, "twin-executable", noise(100'000, 3), 0555);
  store.file(name, "no-twin", noise(100'000, 4));
  store.file(name, "caf\xc3\xa9", "UTF-8");
  store.file(name, "latin-\xe9\xff", "not UTF-8");
  store.file(name, "new\nline and space", "odd");
  std::string deep;
  for (int i = 0; i < 12; ++i) deep += fmt::format("directory-number-{:02}-of-many/", i);
  store.file(name, deep + "file", "deep");
  store.directory(name, deep + std::string(120, 'e'));
  store.file(name, std::string(255, 'n'), "a name that is long without a slash");
  store.file(name, std::string(200, 'x') + "\xe9", "long and not UTF-8");
  store.symlink(name, "to-sibling", "bin/tool");
  store.symlink(name, "dangling", "/nix/store/nowhere");
  store.symlink(name, "long-target", "/nix/store/" + std::string(300, 't'));
  store.symlink(name, "long-latin-target", std::string(300, 't') + "\xe9");
  for (int i = 0; i < 3000; ++i) store.symlink(name, fmt::format("links/{:04}", i), "../big");
  const fs::path sparse = store.file(name, "sparse", "begin");
  CHECK(truncate(sparse.c_str(), 2'000'000) == 0);
  chmod((store.place(name) / "a").c_str(), 0755);
}

}  // namespace

TEST_CASE("a tar header, byte for byte") {
  const std::string header = tar_header({Kind::file, "nix/store/x", 0555, {}, 1234});
  REQUIRE(header.size() == 512);
  CHECK(field(header, 0, 100) == "nix/store/x");
  CHECK(header.substr(100, 8) == std::string("0000555\0", 8));
  CHECK(header.substr(108, 16) == std::string("0000000\0"
                                              "0000000\0",
                                              16));
  CHECK(header.substr(124, 12) == std::string("00000002322\0", 12));
  CHECK(header.substr(136, 12) == std::string("00000000001\0", 12));
  CHECK(header.substr(148, 8) == std::string("011332\0 ", 8));
  CHECK(header[156] == '0');
  CHECK(header.substr(257, 8) == std::string("ustar\0"
                                             "00",
                                             8));
  CHECK(header.substr(265, 64) == std::string(64, '\0'));
  CHECK(image::Digest::of(header).hex() == "43c087f9d47b5a7084d5ce8e80a67249c9cf866d0523a4754c48ed72d9a649f2");
}

TEST_CASE("names are split, and use pax only if ustar cannot hold them") {
  const auto blocks = [](const Entry& entry) { return tar_header(entry).size() / tar_block; };
  const auto file = [](std::string name) { return Entry{Kind::file, std::move(name), 0444, {}, 0}; };
  CHECK(blocks(file(std::string(100, 'n'))) == 1);
  CHECK(blocks(file(std::string(101, 'n'))) == 3);
  CHECK(blocks(file(std::string(155, 'p') + '/' + std::string(100, 'n'))) == 1);
  CHECK(blocks(file(std::string(156, 'p') + '/' + std::string(100, 'n'))) == 3);
  CHECK(blocks(file(std::string(155, 'p') + '/' + std::string(101, 'n'))) == 3);
  CHECK(blocks(Entry::directory(std::string(99, 'd'))) == 1);
  CHECK(blocks(Entry::directory(std::string(100, 'd'))) == 3);  // its slash ends the name and cannot split it
  CHECK(blocks(Entry::symlink("l", std::string(100, 't'))) == 1);
  CHECK(blocks(Entry::symlink("l", std::string(101, 't'))) == 3);

  // Every length around the limits is preserved.
  for (std::size_t size = 90; size < 300; ++size) {
    const std::string name = std::string(size / 3, 'a') + '/' + std::string(size - size / 3, 'b');
    for (const Entry& entry : {file(name), Entry::directory(name), Entry::symlink("l", name)}) {
      const auto read = read_with_libarchive(tar_header(entry) + end_of_archive);
      REQUIRE(read.size() == 1);
      CHECK(read[0].name == (entry.kind == Kind::symlink ? "l" : entry.kind == Kind::directory ? name + '/' : name));
      if (entry.kind == Kind::symlink) CHECK(read[0].target == name);
    }
  }
}

TEST_CASE("a file of 8 GiB has a pax size, a smaller one does not") {
  const std::uint64_t limit = std::uint64_t{8} << 30;
  CHECK(tar_header({Kind::file, "big", 0444, {}, limit - 1}).size() == 512);
  CHECK(field(tar_header({Kind::file, "big", 0444, {}, limit - 1}), 124, 12) == "77777777777");
  const std::string header = tar_header({Kind::file, "big", 0444, {}, limit});
  CHECK(header.size() == 3 * 512);
  CHECK(field(header, 512, 512) == "19 size=8589934592\n");
  CHECK(read_with_libarchive(header, false)[0].size == static_cast<std::int64_t>(limit));

  TemporaryDirectory dir;
  std::ofstream(dir.path() / "header", std::ios::binary) << header;
  shell(fmt::format("tar tvf {0}/header > {0}/list 2> /dev/null", dir.path().string()));  // truncated, but listed
  CHECK(read_file(dir.path() / "list").find(" 8589934592 ") != std::string::npos);
}

TEST_CASE("a pax record counts its own digits") {
  // In this range the length reaches four digits, which count too.
  for (std::size_t size = 80; size < 110; ++size) {
    const std::string header = tar_header(Entry::symlink("l", std::string(size + 900, 't')));
    const std::string record = header.substr(512, std::stoul(header.substr(512)));
    CHECK(record.back() == '\n');
    CHECK(record.ends_with(std::string(size + 900, 't') + "\n"));
    if (record.size() % 512 != 0) CHECK(header[512 + record.size()] == '\0');
  }
}

TEST_CASE("libarchive reads a difficult store path as its NAR has it") {
  Store store;
  make_nasty(store, "nasty");
  const std::string tar = tar_of(store, "nasty");
  std::map<std::string, std::string> read;
  std::vector<std::string> order;
  const std::string base = store.info("nasty").path.str().substr(1);
  std::setlocale(LC_CTYPE, "C.UTF-8");  // libarchive turns pax names from UTF-8 into the locale's
  for (const Read& entry : read_with_libarchive(tar + end_of_archive)) {
    std::string name = entry.name.substr(base.size());
    name = name == "/" ? "." : name.substr(1);
    order.push_back(name);
    if (name.ends_with('/')) {
      name.pop_back();
      read[name] = fmt::format("d {:o}", entry.mode);
    } else if (name == ".") {
      read[name] = fmt::format("d {:o}", entry.mode);
    } else if (entry.hard_link) {
      read[name] = read.at(entry.target.substr(base.size() + 1));
    } else if (!entry.target.empty()) {
      read[name] = "l " + entry.target;
    } else {
      read[name] = fmt::format("f {:o} {}", entry.mode, image::Digest::of(entry.data).hex());
    }
  }
  std::setlocale(LC_CTYPE, "C");
  CHECK(read == describe(store.place("nasty"), true));
  const auto at = [&](std::string_view name) { return std::find(order.begin(), order.end(), name) - order.begin(); };
  CHECK(at("a/") < at("a/c"));
  CHECK(at("a/c") < at("a-b"));  // as in a NAR: within a directory, bytewise
}

TEST_CASE("hard links depend on contents, never on inodes") {
  Store store;
  const auto make = [&](const std::string& name, bool linked) {
    store.file(name, "1", noise(50'000, 7));
    if (linked) {
      fs::create_hard_link(store.place(name) / "1", store.place(name) / "2");
    } else {
      store.file(name, "2", noise(50'000, 7));
    }
    store.file(name, "3", noise(50'000, 8));
    store.file(name, "small-1", "same");
    store.file(name, "small-2", "same");
    std::string tar = tar_of(store, name);
    fs::remove_all(store.place(name));
    return tar;
  };
  const std::string linked = make("x", true);
  CHECK(linked == make("x", false));
  const auto entries = read_with_libarchive(linked + end_of_archive);
  REQUIRE(entries.size() == 6);
  CHECK(entries[2].hard_link);
  CHECK(entries[2].target == entries[1].name);
  CHECK(!entries[3].hard_link);
  CHECK(!entries[5].hard_link);
}

TEST_CASE("the tar of a store path, byte for byte, since digests depend on it for ever") {
  Store store;
  make_nasty(store, "nasty");
  // Around the limits of hard links: 16 KiB, and the first sixteen files of a size.
  for (const int size : {(16 << 10) - 1, 16 << 10}) {
    for (int i = 0; i < 18; ++i) {
      const std::string content = noise(static_cast<std::size_t>(size), static_cast<unsigned>(i));
      store.file("nasty", fmt::format("sizes/{}/{:02}", size, i), content);
      store.file("nasty", fmt::format("sizes/{}/{:02}-twin", size, i), content);
    }
  }
  CHECK(image::Digest::of(tar_of(store, "nasty")).hex() ==
        "728e802e4ed218adda422b9c983a07b84c8976606b9ab45519421506dd12ca62");
}

TEST_CASE("the stream does not depend on the size of the sink's buffers") {
  Store store;
  make_nasty(store, "nasty");
  const std::string tar = tar_of(store, "nasty", 1 << 20);
  CHECK(tar == tar_of(store, "nasty", 1 << 20));
  CHECK(tar == tar_of(store, "nasty", 777));
}

TEST_CASE("a walk computes the size of the NAR, and its digest is Nix's") {
  Store store;
  make_nasty(store, "nasty");
  store.file("script", "", "echo\n", 0755);
  fs::create_symlink("elsewhere", store.place("link"));
  const std::map<std::string, Nar> expected = {
      // by nix-store --dump
      {"nasty", {"9b636868afc7e85c996d3778905431e25884895ef27e5aafec5a3460eff29e28", 6585552}},
      {"script", {"6e27fd340e0024b27069eee73cfe0cfc4a8eb5ee892e92285be5a6c953a30d8b", 152}},
      {"link", {"ef6fa756503f5e1d67c2dc7f638ce33f82569b12d5ef6950c8276b2de79dc0ce", 128}}};
  for (const auto& [name, nar] : expected) {
    const Nar ours = nar_of(store.root(), store.info(name).path);
    CHECK(ours.hash == nar.hash);
    CHECK(ours.size == nar.size);
    StringSink sink;
    CHECK(append_store_path(sink, store.root(), store.info(name).path) == nar.size);
    const std::string dump = (store.root() / "dump").string();
    REQUIRE(shell(fmt::format("nix-store --dump '{}' > '{}' 2> /dev/null", store.place(name).string(), dump)));
    CHECK(image::Digest::of(read_file(dump)).hex() == nar.hash);
  }
  CHECK_THROWS_AS(nar_of(store.root(), store.info("absent").path), Error);
}

TEST_CASE("a store path may be a file or a symlink") {
  Store store;
  store.file("script.sh", "", "echo\n", 0755);
  fs::create_symlink("/nix/store/elsewhere", store.place("link"));
  const auto file = read_with_libarchive(tar_of(store, "script.sh") + end_of_archive);
  REQUIRE(file.size() == 1);
  CHECK(file[0].name == store.info("script.sh").path.str().substr(1));
  CHECK(file[0].data == "echo\n");
  CHECK(file[0].mode == 0555);
  CHECK(read_with_libarchive(tar_of(store, "link") + end_of_archive)[0].target == "/nix/store/elsewhere");
}

TEST_CASE("a file that changes while it is read is an error that names it") {
  Store store;
  const fs::path path = store.file("changing", "data", noise(100'000, 1), 0644);
  const auto walk = [&](off_t size) {
    StringSink sink;
    int buffers = 0;
    sink.on_buffer = [&] {
      if (++buffers == 5) CHECK(truncate(path.c_str(), size) == 0);
    };
    try {
      append_store_path(sink, store.root(), store.info("changing").path);
    } catch (const Error& error) {
      CHECK(error.failure() == Failure::corrupt);
      CHECK(std::string(error.what()).find(path.string()) != std::string::npos);
      return true;
    }
    return false;
  };
  CHECK(walk(200'000));
  CHECK(walk(30'000));
}

TEST_CASE("a file type that a store cannot hold is an error that names it") {
  Store store;
  store.directory("special", "");
  const std::string fifo = (store.place("special") / "fifo").string();
  REQUIRE(mkfifo(fifo.c_str(), 0644) == 0);
  CHECK_THROWS_WITH_AS(tar_of(store, "special"), doctest::Contains(fifo.c_str()), Error);
  CHECK_THROWS_WITH_AS(tar_of(store, "absent"), doctest::Contains("absent"), Error);
}

TEST_CASE("an encoding's head and tail are constants") {
  TemporaryDirectory dir;
  CHECK(tar_head().size() == 1024);
  for (const char* name : {"gzip-fast", "zstd-fast"}) {
    const Encoding encoding = *Encoding::parse(name);
    std::ofstream(dir.path() / "x", std::ios::binary) << encoding.head() << encoding.tail();
    const bool gzip = encoding.codec == Encoding::Codec::gzip;
    REQUIRE(shell(
        fmt::format("{} -dc < {}/x > {}/y", gzip ? "gzip" : "zstd -q", dir.path().string(), dir.path().string())));
    CHECK(read_file(dir.path() / "y") == tar_head() + end_of_archive);
  }
}

TEST_CASE("encodings have names") {
  for (const char* name : {"gzip-fast", "gzip-balanced", "gzip-small", "zstd-fast", "zstd-balanced", "zstd-small"})
    CHECK(Encoding::parse(name)->name() == name);
  for (const char* name : {"", "gzip", "gzip-", "gzip-6", "GZIP-FAST", "lz4-fast", "gzip-fast "})
    CHECK(!Encoding::parse(name));
  CHECK(Encoding::parse("zstd-fast")->media_type(false) == image::MediaType::oci_layer_zstd);
  CHECK(!Encoding::parse("zstd-fast")->media_type(true));
  CHECK(Encoding::parse("gzip-small")->media_type(true) == image::MediaType::docker_layer_gzip);
}

TEST_CASE("owners are numbers in the header, and in pax records if they have more than seven octal digits") {
  Entry entry = Entry::file("etc/a", "");
  const std::string roots = tar_header(entry);
  CHECK(field(roots, 108, 8) == "0000000");
  entry.uid = 65534;
  entry.gid = 2097151;
  const std::string small = tar_header(entry);
  CHECK(small.size() == tar_block);
  CHECK(field(small, 108, 8) == "0177776");
  CHECK(field(small, 116, 8) == "7777777");
  entry.uid = 2097152;
  entry.gid = 4294967294;
  const std::string large = tar_header(entry);
  CHECK(large.size() == 3 * tar_block);
  CHECK(large.substr(tar_block).starts_with("15 uid=2097152\n18 gid=4294967294\n"));
  const std::string tar = large + end_of_archive;
  const std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
  archive_read_support_format_tar(reader.get());
  REQUIRE(archive_read_open_memory(reader.get(), tar.data(), tar.size()) == ARCHIVE_OK);
  archive_entry* read = nullptr;
  REQUIRE(archive_read_next_header(reader.get(), &read) == ARCHIVE_OK);
  CHECK(archive_entry_uid(read) == 2097152);
  CHECK(archive_entry_gid(read) == 4294967294);
}
