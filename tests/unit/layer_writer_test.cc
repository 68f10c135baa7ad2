#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <set>
#include <system_error>
#include <thread>

#include "cause.h"
#include "error.h"
#include "layer/compression.h"
#include "layer/walk.h"
#include "layer_test_store.h"
#include "logged.h"
#include "maintenance/orphans.h"
#include "os/file.h"

using namespace nixery;
using namespace nixery::layer;
using namespace nixery::test;

namespace {

const Encoding gzip_fast{Encoding::Codec::gzip, Encoding::Level::fast};
const Encoding zstd_fast{Encoding::Codec::zstd, Encoding::Level::fast};

// Some store paths of different sizes, and trees for their layers.
class Fixture {
 public:
  Fixture() {
    for (int i = 0; i < 12; ++i) {
      const std::string name = fmt::format("path-{}", i);
      store.file(name, "lib/data", noise(static_cast<std::size_t>(i * i * 12'000), static_cast<unsigned>(i)));
      store.file(name, "bin/program", noise(300, 99), 0555);
      store.symlink(name, "link", "bin/program");
      infos.push_back(store.registered(name));
    }
  }

  tree::Layout layout(const std::string& name) const {
    return {dir.path() / name / "tree", dir.path() / name / "state"};
  }
  // Lives as long as this does.
  const tree::BlobStore& blobs(const std::string& name) const {
    const auto [tree, state] = layout(name);
    return stores_.try_emplace(name, tree, state).first->second;
  }
  WriterOptions options(unsigned threads = 2) const { return {threads, store.root()}; }

  // The paths, distributed to `layers` layers.
  std::vector<Contents> split_into(std::size_t layers) const {
    std::vector<Contents> contents(layers);
    for (std::size_t i = 0; i < infos.size(); ++i) contents[i % layers].paths.push_back(&infos[i]);
    return contents;
  }

  Store store;
  TemporaryDirectory dir;
  std::vector<store::PathInfo> infos;

 private:
  mutable std::map<std::string, tree::DirectoryStore> stores_;
};

std::vector<image::Digest> digests(const Written& written) {
  std::vector<image::Digest> result;
  for (const LayerBlob& blob : written.layers) result.push_back(blob.digest);
  return result;
}

// Decompresses a blob with an independent program.
std::string decompressed(const fs::path& blob, Encoding encoding) {
  TemporaryDirectory dir;
  const std::string out = (dir.path() / "tar").string();
  REQUIRE(shell(fmt::format("{} -dc < {} > {}", encoding.codec == Encoding::Codec::gzip ? "gzip" : "zstd -q",
                            blob.string(), out)));
  return read_file(out);
}

void check_blob(const tree::Layout& layout, const LayerBlob& blob) {
  const std::string bytes = read_file(layout.blob(blob.digest));
  CHECK(bytes.size() == blob.size);
  CHECK(image::Digest::of(bytes) == blob.digest);
  const std::string tar = decompressed(layout.blob(blob.digest), blob.encoding);
  CHECK(tar.size() == blob.tar_size);
  CHECK(image::Digest::of(tar) == blob.diff_id);
}

void corrupt(const fs::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

// A record as versions before checksums wrote it.
std::string without_checksum(std::string record) {
  if (const std::size_t mark = record.find(" sum:"); mark != std::string::npos)
    return record.erase(mark, record.find(" end", mark) - mark);
  const std::size_t mark = record.find(",\"checksum\":");
  return record.erase(mark, record.rfind('}') - mark);
}

// Changes a store path's contents, as a fault or another build would.
void change(Fixture& fixture, std::size_t path, const std::string& content, mode_t mode = 0444) {
  const std::string name = fmt::format("path-{}", path);
  fs::remove(fixture.store.place(name) / "lib/data");
  fixture.store.file(name, "lib/data", content, mode);
}

// Damages the contents and keeps their size; returns the original contents.
std::string damage(Fixture& fixture, std::size_t path) {
  std::string content = read_file(fixture.store.place(fmt::format("path-{}", path)) / "lib/data");
  change(fixture, path, std::string(content.size() / 2, '\0') + content.substr(content.size() / 2));
  return content;
}

void drop_index(const tree::Layout& layout) {
  fs::remove_all(layout.state / "groups");
  fs::remove_all(layout.state / "segments");
}

// Peak memory of this process, in bytes.
std::uint64_t peak_memory() {
  const std::string status = read_file("/proc/self/status");
  return std::stoull(status.substr(status.find("VmHWM:") + 6)) * 1024;
}

std::vector<fs::path> files_in(const fs::path& dir) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(dir))
    if (entry.is_regular_file()) files.push_back(entry.path());
  return files;
}

}  // namespace

TEST_CASE("layers match their digests and diff ids in each encoding") {
  const Fixture fixture;
  for (const char* name : {"gzip-fast", "gzip-balanced", "gzip-small", "zstd-fast", "zstd-balanced", "zstd-small"}) {
    const tree::BlobStore& store = fixture.blobs(name);
    const tree::Layout layout = fixture.layout(name);
    Writer writer(store, fixture.options());
    const Written written = writer.write(fixture.split_into(3), *Encoding::parse(name));
    REQUIRE(written.layers.size() == 3);
    for (const LayerBlob& blob : written.layers) {
      check_blob(layout, blob);
      CHECK(!blob.reused);
      const auto recipe = read_recipe(store, blob.digest);
      REQUIRE(recipe);
      CHECK(recipe->segments.size() == 4);
      CHECK(recipe->diff_id == blob.diff_id);
    }
    CHECK(written.stats.tarred == written.stats.compressed);
    CHECK(written.stats.copied == 0);
    CHECK(files_below(layout.incoming()) == 0);
  }
}

TEST_CASE("the bytes do not depend on the number of threads") {
  const Fixture fixture;
  std::vector<std::vector<image::Digest>> all;
  for (const unsigned threads : {1u, 2u, 7u}) {
    Writer writer(fixture.blobs(fmt::format("{}", threads)), fixture.options(threads));
    all.push_back(digests(writer.write(fixture.split_into(4), gzip_fast)));
  }
  CHECK(all[0] == all[1]);
  CHECK(all[0] == all[2]);
}

TEST_CASE("a known layer is not read from the store") {
  const Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  const Written first = writer.write(fixture.split_into(3), gzip_fast);
  for (const auto& info : fixture.infos) fs::remove_all(fixture.store.root() / info.path.str().substr(1));
  const Written second = writer.write(fixture.split_into(3), gzip_fast);
  CHECK(digests(first) == digests(second));
  CHECK(second.layers[0].reused);
  CHECK(second.stats.layers_reused == 3);
  CHECK(second.stats.tarred == 0);
  CHECK(second.layers[1].diff_id == first.layers[1].diff_id);
  CHECK(second.layers[1].tar_size == first.layers[1].tar_size);
}

TEST_CASE("regrouping copies segments and gives the same bytes as compressing") {
  const Fixture fixture;
  for (const Encoding encoding : {gzip_fast, zstd_fast}) {
    const tree::BlobStore& store = fixture.blobs("regrouped" + encoding.name());
    const tree::Layout layout = fixture.layout("regrouped" + encoding.name());
    Writer writer(store, fixture.options());
    writer.write(fixture.split_into(12), encoding);
    const Written regrouped = writer.write(fixture.split_into(5), encoding);
    CHECK(regrouped.stats.compressed == 0);
    CHECK(regrouped.stats.copied > 0);
    for (const LayerBlob& blob : regrouped.layers) check_blob(layout, blob);

    Writer fresh(fixture.blobs("fresh" + encoding.name()), fixture.options());
    CHECK(digests(fresh.write(fixture.split_into(5), encoding)) == digests(regrouped));
  }
}

TEST_CASE("known and new paths mix in one layer") {
  const Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  std::vector<Contents> half(1);
  for (std::size_t i = 0; i < fixture.infos.size(); i += 2) half[0].paths.push_back(&fixture.infos[i]);
  writer.write(half, gzip_fast);
  const Written mixed = writer.write(fixture.split_into(1), gzip_fast);
  CHECK(mixed.stats.copied > 0);
  CHECK(mixed.stats.compressed > 0);
  check_blob(layout, mixed.layers[0]);
  Writer fresh(fixture.blobs("fresh"), fixture.options());
  CHECK(digests(fresh.write(fixture.split_into(1), gzip_fast)) == digests(mixed));
}

TEST_CASE("a layer of entries in memory is indexed and can be rebuilt") {
  const Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  std::vector<Contents> layers(1);
  layers[0].entries = {Entry::directory("bin"), Entry::symlink("bin/sh", "/nix/store/x/bin/sh"),
                       Entry::symlink("bin/100%-\xe9", "\xff\n"), Entry::directory("tmp", 01777),
                       Entry::file("etc/passwd", "root:x:0:0\n")};
  const LayerBlob blob = writer.write(layers, gzip_fast).layers[0];
  check_blob(layout, blob);
  CHECK(writer.write(layers, gzip_fast).layers[0].reused);
  const auto recipe = read_recipe(store, blob.digest);
  REQUIRE(recipe);
  CHECK(recipe->entries == layers[0].entries);
  fs::remove(layout.blob(blob.digest));
  CHECK(writer.rebuild(blob.digest).digest == blob.digest);
  std::vector<Entry> changed = layers[0].entries.get();
  changed[3].mode = 0755;
  layers[0].entries = std::move(changed);
  CHECK(writer.write(layers, gzip_fast).layers[0].digest != blob.digest);
}

TEST_CASE("a layer's owners are in its recipe and its key") {
  const Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  Writer writer(store, fixture.options());
  const auto write = [&](std::uint32_t uid, std::uint32_t gid) {
    Entry entry = Entry::directory("srv");
    entry.uid = uid;
    entry.gid = gid;
    std::vector<Contents> layers(1);
    layers[0].entries = {entry};
    return writer.write(layers, gzip_fast).layers[0].digest;
  };
  const image::Digest root = write(0, 0), user = write(7, 0), group = write(0, 7), large = write(4294967294, 0);
  CHECK(std::set{root, user, group, large}.size() == 4);
  for (const image::Digest& digest : {user, group, large}) {
    fs::remove(fixture.layout("t").blob(digest));
    CHECK(writer.rebuild(digest).digest == digest);
  }
  CHECK(to_json(*read_recipe(store, root)).find("\"uid\"") == std::string::npos);
}

TEST_CASE("an empty image has layers too") {
  const Fixture fixture;
  Writer writer(fixture.blobs("t"), fixture.options());
  CHECK(writer.write({}, gzip_fast).layers.empty());
  const Written written = writer.write(std::vector<Contents>(2), gzip_fast);  // the same one twice, at the same time
  check_blob(fixture.layout("t"), written.layers[0]);
  CHECK(written.layers[0].digest == written.layers[1].digest);
}

TEST_CASE("torn or wrong index entries are ignored") {
  const Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  const auto want = digests(writer.write(fixture.split_into(3), gzip_fast));
  const auto regrouped = digests(writer.write(fixture.split_into(2), gzip_fast));
  const auto wreck = [&](const std::function<std::string(std::string)>& change) {
    for (const char* dir : {"groups", "segments", "recipes"})
      for (const fs::path& file : files_in(layout.state / dir)) corrupt(file, change(read_file(file)));
    for (const image::Digest& digest : regrouped) fs::remove(layout.blob(digest));
    const Written again = writer.write(fixture.split_into(2), gzip_fast);
    CHECK(digests(again) == regrouped);
    for (const LayerBlob& blob : again.layers) check_blob(layout, blob);
    CHECK(digests(writer.write(fixture.split_into(3), gzip_fast)) == want);
  };
  wreck([](const std::string&) { return ""; });
  wreck([](const std::string& text) { return text.substr(0, text.size() / 2); });
  wreck([](const std::string& text) { return text.substr(0, text.size() - 1); });
  wreck([](const std::string& text) { return std::string(text.size(), '\0'); });
  wreck([](const std::string&) { return "{\"format\":1} 1 2 3 4 5 end\n"; });
}

TEST_CASE("a layer's records with a flipped bit say what they said, or nothing") {
  const Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  const std::vector<Contents> layers{{{}, {&fixture.infos[1], &fixture.infos[2]}}};
  const LayerBlob blob = writer.write(layers, gzip_fast).layers[0];
  const std::string key = layer_key(gzip_fast, layers[0]);
  const auto known_segment = *find_segment(store, gzip_fast, fixture.infos[1]);
  const auto recipe = *read_recipe(store, blob.digest);

  const auto flip_each = [](const fs::path& file, const std::function<void(std::size_t)>& check) {
    const std::string whole = read_file(file);
    for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
      std::string bytes = whole;
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
      corrupt(file, bytes);
      check(bit);
    }
    corrupt(file, whole);
  };
  const auto check_layer = [&](std::size_t bit) {
    const auto known = find_layer(store, key);
    if (!known) return false;
    CHECK_MESSAGE(known->blob == blob.digest, bit);
    CHECK_MESSAGE(known->size == blob.size, bit);
    CHECK_MESSAGE(known->diff_id == blob.diff_id, bit);
    CHECK_MESSAGE(known->tar_size == blob.tar_size, bit);
    return true;
  };
  std::size_t believed = 0;
  flip_each(layout.group(key), [&](std::size_t bit) { believed += check_layer(bit); });
  CHECK(believed == 0);
  flip_each(layout.segment(segment_key(gzip_fast, fixture.infos[1])), [&](std::size_t bit) {
    const auto known = find_segment(store, gzip_fast, fixture.infos[1]);
    believed += known.has_value();
    if (known) CHECK_MESSAGE(known->blob == known_segment.blob, bit);
    if (known) CHECK_MESSAGE(known->segment.offset == known_segment.segment.offset, bit);
    if (known) CHECK_MESSAGE(known->segment.crc32 == known_segment.segment.crc32, bit);
  });
  CHECK(believed <= 8 * 5);  // where the mark itself is hit: then the bytes prove the segment when it is copied
  flip_each(layout.recipe(blob.digest), [&](std::size_t bit) {
    const auto read = read_recipe(store, blob.digest);
    if (read) CHECK_MESSAGE(read->diff_id == recipe.diff_id, bit);
    if (read) CHECK_MESSAGE(read->segments == recipe.segments, bit);
  });

  SUBCASE("also as an earlier version wrote them, without a checksum") {
    const std::string line = read_file(layout.group(key));
    const std::string fields = without_checksum(line);
    corrupt(layout.group(key), fields);
    REQUIRE(check_layer(0));
    CHECK(read_file(layout.group(key)) == line);  // from now on, with a checksum
    for (std::size_t bit = 0; bit < 8 * fields.size(); ++bit) {
      std::string bytes = fields;
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
      corrupt(layout.group(key), bytes);
      check_layer(bit);
    }
  }
  SUBCASE("a layer's record under another layer's key") {
    const std::vector<Contents> other{{{}, {&fixture.infos[3]}}};
    const LayerBlob of_other = writer.write(other, gzip_fast).layers[0];
    corrupt(layout.group(key), read_file(layout.group(layer_key(gzip_fast, other[0]))));
    CHECK_FALSE(find_layer(store, key));
    CHECK(writer.write(layers, gzip_fast).layers[0].digest == blob.digest);
    CHECK(of_other.digest != blob.digest);
  }
  SUBCASE("a recipe without a checksum makes no layer's record, only those of segments") {
    const std::string text = to_json(recipe);
    drop_index(layout);
    corrupt(layout.recipe(blob.digest), text.substr(0, text.find(blob.diff_id.hex())) + image::Digest::of("x").hex() +
                                            text.substr(text.find(blob.diff_id.hex()) + 64));
    CHECK(rebuild_index(store) == 1);
    CHECK(rebuild_index(store) == 0);
    const Written again = writer.write(layers, gzip_fast);
    CHECK(again.layers[0].diff_id == blob.diff_id);
    CHECK(again.stats.compressed == 0);
    CHECK(read_recipe(store, blob.digest)->diff_id == blob.diff_id);
  }
}

TEST_CASE("a segment with unexpected bytes is made again") {
  const Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  writer.write(fixture.split_into(12), gzip_fast);
  Writer fresh(fixture.blobs("fresh"), fixture.options());
  const auto want = digests(fresh.write(fixture.split_into(2), gzip_fast));

  const auto other_range = [](std::string line) {  // another offset, the same length
    const std::size_t space = line.find(' ');
    return line.replace(space + 1, line.find(' ', space + 1) - space - 1, "3");
  };
  for (const fs::path& file : files_in(layout.state / "segments")) corrupt(file, other_range(read_file(file)));
  const Written written = writer.write(fixture.split_into(2), gzip_fast);
  CHECK(digests(written) == want);
  CHECK(written.stats.compressed > 0);
  for (const LayerBlob& blob : written.layers) check_blob(layout, blob);
  CHECK(writer.write(fixture.split_into(5), gzip_fast).stats.compressed == 0);  // and the index is right again
}

TEST_CASE("a corrupt blob is logged and replaced by a good one") {
  const Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  const LayerBlob blob = writer.write(fixture.split_into(3), gzip_fast).layers[2];
  std::string bytes = read_file(layout.blob(blob.digest));
  bytes[bytes.size() / 2] ^= 1;
  const auto rot = [&] { corrupt(layout.blob(blob.digest), bytes); };

  rot();
  fs::remove(layout.group(layer_key(gzip_fast, fixture.split_into(3)[2])));
  const std::string log = logged([&] { writer.write(fixture.split_into(3), gzip_fast); });
  CHECK(log.find(blob.digest.str()) != std::string::npos);
  check_blob(layout, blob);

  rot();
  drop_index(layout);  // so that it is not found
  CHECK(logged([&] { writer.write(fixture.split_into(3), gzip_fast); }).empty());
  check_blob(layout, blob);

  rot();  // in a new grouping the corruption is only detected
  const std::string again = logged([&] {
    const CauseScope cause({"4b1dd1", {}});
    for (const LayerBlob& other : writer.write(fixture.split_into(5), gzip_fast).layers) check_blob(layout, other);
  });
  CHECK(again.find(blob.digest.str()) != std::string::npos);
  CHECK(again.find("4b1dd1") != std::string::npos);  // the key that it was done for

  fs::remove(
      layout.blob(writer.write(fixture.split_into(2), gzip_fast).layers[0].digest));  // a missing blob is not logged
  CHECK(logged([&] { writer.write(fixture.split_into(2), gzip_fast); }).empty());
}

TEST_CASE("the index is rebuilt from recipes and blobs") {
  const Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  const Written first = writer.write(fixture.split_into(3), gzip_fast);
  drop_index(layout);
  corrupt(layout.recipe(image::Digest::of("no such blob")), "{");
  CHECK(rebuild_index(store) == 3);
  const Written second = writer.write(fixture.split_into(3), gzip_fast);
  CHECK(second.stats.layers_reused == 3);
  CHECK(writer.write(fixture.split_into(2), gzip_fast).stats.compressed == 0);

  drop_index(layout);
  for (const LayerBlob& blob : first.layers) fs::remove(layout.blob(blob.digest));
  CHECK(rebuild_index(store) == 2);  // those of the regrouping
  CHECK(rebuild_index(store) == 0);
  CHECK(rebuild_index(fixture.blobs("nothing there")) == 0);
}

TEST_CASE("segments that a collection keeps are still copied, not compressed again") {
  const Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  const Written first = writer.write(fixture.split_into(12), gzip_fast);
  writer.write(fixture.split_into(5), gzip_fast);
  for (const LayerBlob& blob : first.layers) fs::remove(layout.blob(blob.digest));
  const auto stays = [&](const image::Digest& digest) { return fs::exists(layout.blob(digest)); };
  maintenance::remove_orphans(store, layout.local(), stays, {}, std::chrono::system_clock::now(),
                              {std::chrono::seconds(0), {}, true}, maintenance::Mode::real);
  const Written third = writer.write(fixture.split_into(3), gzip_fast);
  CHECK(third.stats.compressed == 0);
  CHECK(third.stats.copied > 0);
}

TEST_CASE("a layer whose recipe was lost is made again, with a recipe") {
  const Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  const Written first = writer.write(fixture.split_into(3), gzip_fast);
  fs::remove(layout.recipe(first.layers[0].digest));
  corrupt(layout.recipe(first.layers[1].digest), "");  // as after a power failure
  const Written second = writer.write(fixture.split_into(3), gzip_fast);
  CHECK(digests(second) == digests(first));
  CHECK(second.stats.layers_reused == 1);
  CHECK(second.stats.compressed == 0);
  for (const LayerBlob& blob : first.layers) {
    fs::remove(layout.blob(blob.digest));
    CHECK(writer.rebuild(blob.digest).diff_id == blob.diff_id);
  }
}

TEST_CASE("a missing blob is rebuilt to the same digest") {
  const Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  const Written written = writer.write(fixture.split_into(3), gzip_fast);
  for (const bool with_index : {true, false}) {
    if (!with_index) drop_index(layout);
    for (const LayerBlob& blob : written.layers) {
      fs::remove(layout.blob(blob.digest));
      const LayerBlob again = writer.rebuild(blob.digest);
      CHECK(again.digest == blob.digest);
      CHECK(again.diff_id == blob.diff_id);
      check_blob(layout, again);
    }
  }
}

TEST_CASE("a blob that cannot be rebuilt to the same digest is unknown") {
  const Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  const image::Digest never = image::Digest::of("never");
  const auto failure = [&](const image::Digest& digest) {
    try {
      writer.rebuild(digest);
    } catch (const Error& error) {
      return error.failure();
    }
    return Failure::bad_name;
  };
  CHECK(failure(never) == Failure::unknown_blob);

  const LayerBlob blob = writer.write(fixture.split_into(3), gzip_fast).layers[2];
  auto recipe = *read_recipe(store, blob.digest);
  recipe.blob = never;  // like a recipe of other bytes
  os::write_file(layout.recipe(never), to_json(recipe), false);
  CHECK(failure(never) == Failure::unknown_blob);
  CHECK(!fs::exists(layout.blob(never)));
  // The failure is recorded for this version of the library; another may succeed.
  CHECK(!can_rebuild(store, never));
  CHECK(read_recipe(store, never)->segments == recipe.segments);
  const std::uint64_t read = writer.totals().tarred;
  CHECK(failure(never) == Failure::unknown_blob);
  CHECK(writer.totals().tarred == read);
  recipe.failed_with = {"libdeflate 0.1 0123456789abcdef"};
  os::write_file(layout.recipe(never), to_json(recipe), false);
  CHECK(can_rebuild(store, never));
  CHECK(failure(never) == Failure::unknown_blob);
  CHECK(writer.totals().tarred > read);
  CHECK(read_recipe(store, never)->failed_with.size() == 2);
  recipe.format = format_version + 1;
  os::write_file(layout.recipe(never), to_json(recipe), false);
  CHECK(failure(never) == Failure::unknown_blob);
  CHECK(files_below(layout.incoming()) == 0);

  fs::remove_all(fixture.store.place("path-2"));
  drop_index(layout);
  fs::remove(layout.blob(blob.digest));
  CHECK(failure(blob.digest) == Failure::storage);
  CHECK(files_below(layout.incoming()) == 0);
}

TEST_CASE("a recipe is JSON with its keys in a fixed order") {
  const image::Digest digest = image::Digest::of("x");
  const std::string path = "/nix/store/" + std::string(32, '0') + "-x";
  const std::uint64_t tail = gzip_fast.tail().size();
  const Recipe recipe{1,
                      gzip_fast,
                      digest,
                      95 + tail,
                      digest,
                      4096,
                      {Entry::symlink("bin/\xe9", "%")},
                      {{path, std::string(64, 'a'), "libdeflate 1.14", 90, 5, 1024, 7, 8}},
                      {"libdeflate 1.25 ab"}};
  const std::string hex = digest.hex();
  CHECK(to_json(recipe) ==
        fmt::format("{{\"format\":1,\"encoding\":\"gzip-fast\",\"blob\":\"sha256:{0}\",\"size\":{2},"
                    "\"diff_id\":\"sha256:{0}\",\"tar_size\":4096,\"entries\":[{{\"kind\":\"symlink\","
                    "\"name\":\"bin/%e9\",\"mode\":511,\"content\":\"%25\"}}],\"segments\":[{{\"path\":\"{1}\","
                    "\"nar_hash\":\"{3}\",\"library\":\"libdeflate 1.14\",\"offset\":90,\"length\":5,"
                    "\"tar_length\":1024,\"crc32\":7,\"tar_crc32\":8}}],\"failed_with\":[\"libdeflate 1.25 ab\"]}}\n",
                    hex, path, 95 + tail, std::string(64, 'a')));
  const auto read = parse_recipe(to_json(recipe), digest);
  REQUIRE(read);
  CHECK(read->segments == recipe.segments);
  CHECK(read->entries == recipe.entries);
  CHECK(read->failed_with == recipe.failed_with);
  CHECK(!parse_recipe(to_json(recipe), image::Digest::of("y")));
}

TEST_CASE("a store path whose size differs from Nix's registration makes no layer until it is fixed") {
  Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  const fs::path file = fixture.store.place("path-9") / "lib/data";
  const std::string content = read_file(file);
  const std::string path = fixture.infos[9].path.str();
  const auto write = [&] { return writer.write(fixture.split_into(12), gzip_fast); };
  const auto check_damaged = [&] {
    try {
      write();
      FAIL("a damaged path was taken");
    } catch (const Error& error) {
      CHECK(error.failure() == Failure::corrupt);
      CHECK(std::string(error.what()).find("nix-store --repair-path " + path) != std::string::npos);
    }
    CHECK(!find_layer(store, layer_key(gzip_fast, fixture.split_into(12)[9])));
    CHECK(!find_segment(store, gzip_fast, fixture.infos[9]));
    CHECK(files_below(layout.incoming()) == 0);
  };

  change(fixture, 9, "");  // as after a power failure
  check_damaged();
  fs::remove(file);  // like a collection
  check_damaged();
  change(fixture, 9, content, 0555);
  check_damaged();
  change(fixture, 9, content);
  for (const LayerBlob& blob : write().layers) check_blob(layout, blob);

  // Also if the segment is known: here the tar would have the same length, but another name.
  fs::rename(file, file.parent_path() / "a-name-that-is-longer");
  CHECK_THROWS_AS(writer.write(fixture.split_into(5), gzip_fast), Error);
  CHECK(!find_layer(store, layer_key(gzip_fast, fixture.split_into(5)[4])));
}

TEST_CASE("a path that was damaged after its segment was made gives no layer until it is fixed") {
  Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  writer.write(fixture.split_into(12), gzip_fast);
  Writer fresh(fixture.blobs("fresh"), fixture.options());
  const auto want = digests(fresh.write(fixture.split_into(5), gzip_fast));

  const std::string content = damage(fixture, 9);
  try {
    writer.write(fixture.split_into(5), gzip_fast);
    FAIL("a damaged path was taken");
  } catch (const Error& error) {
    CHECK(error.failure() == Failure::corrupt);
    CHECK(std::string(error.what()).find("--repair-path " + fixture.infos[9].path.str()) != std::string::npos);
  }
  CHECK(!find_layer(store, layer_key(gzip_fast, fixture.split_into(5)[4])));
  CHECK(files_below(layout.incoming()) == 0);

  change(fixture, 9, content);
  const Written again = writer.write(fixture.split_into(5), gzip_fast);
  CHECK(digests(again) == want);
  CHECK(again.stats.compressed == 0);
  for (const LayerBlob& blob : again.layers) check_blob(layout, blob);
}

TEST_CASE("a segment of a damaged path is not used after the path is fixed") {
  Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  Writer fresh(fixture.blobs("fresh"), fixture.options());
  const auto want = digests(fresh.write(fixture.split_into(5), gzip_fast));
  const auto want_alone = digests(fresh.write(fixture.split_into(12), gzip_fast));

  const std::string content = damage(fixture, 9);
  const LayerBlob wrong = writer.write(fixture.split_into(12), gzip_fast).layers[9];
  change(fixture, 9, content);
  Written again;
  const std::string log = logged([&] { again = writer.write(fixture.split_into(5), gzip_fast); });
  CHECK(digests(again) == want);
  for (const LayerBlob& blob : again.layers) check_blob(layout, blob);
  CHECK(log.find(wrong.digest.str()) != std::string::npos);
  CHECK(log.find(fixture.infos[9].path.str()) != std::string::npos);

  const Written alone = writer.write(fixture.split_into(12), gzip_fast);
  CHECK(digests(alone) == want_alone);
  CHECK(!alone.layers[9].reused);
  CHECK(alone.stats.layers_reused == 11);
  CHECK(alone.stats.compressed == 0);
}

TEST_CASE("wrong contents are removed from every grouping that they were copied into") {
  Fixture fixture;
  Writer fresh(fixture.blobs("fresh"), fixture.options());
  const auto want = digests(fresh.write(fixture.split_into(5), gzip_fast));
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());

  const std::string content = damage(fixture, 9);
  writer.write(fixture.split_into(12), gzip_fast);
  CHECK(writer.write(fixture.split_into(5), gzip_fast).stats.compressed == 0);
  change(fixture, 9, content);
  logged([&] { writer.write(fixture.split_into(2), gzip_fast); });  // finds them
  const Written again = writer.write(fixture.split_into(5), gzip_fast);
  CHECK(digests(again) == want);
  CHECK(again.stats.layers_reused == 4);
}

TEST_CASE("a blob is rebuilt from other blobs' segments regardless of the store, and keeps its diff id") {
  Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  writer.write(fixture.split_into(12), gzip_fast);
  const LayerBlob blob = writer.write(fixture.split_into(5), gzip_fast).layers[4];
  const std::string content = damage(fixture, 9);
  for (const std::string& now : {content.substr(1), read_file(fixture.store.place("path-9") / "lib/data")}) {
    change(fixture, 9, now);
    fs::remove(layout.blob(blob.digest));
    CHECK(writer.rebuild(blob.digest).diff_id == blob.diff_id);
    check_blob(layout, blob);
    CHECK(read_recipe(store, blob.digest)->diff_id == blob.diff_id);
    CHECK(find_layer(store, layer_key(gzip_fast, fixture.split_into(5)[4]))->diff_id == blob.diff_id);
  }
}

TEST_CASE("a blob whose store paths have other contents is not rebuilt, and its recipe stays until they are back") {
  Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  const LayerBlob blob = writer.write(fixture.split_into(3), gzip_fast).layers[0];
  const std::string recipe = read_file(layout.recipe(blob.digest));
  fs::remove(layout.blob(blob.digest));
  const std::string content = damage(fixture, 9);
  for (const bool with_index : {true, false}) {
    if (!with_index) drop_index(layout);
    try {
      writer.rebuild(blob.digest);
      FAIL("other contents were taken");
    } catch (const Error& error) {
      CHECK(error.failure() == Failure::corrupt);
      const std::string message = error.what();
      CHECK(message.find(fixture.infos[9].path.str()) != std::string::npos);
      CHECK(message.find(fixture.infos[6].path.str()) == std::string::npos);
      CHECK(message.find("libdeflate") == std::string::npos);
    }
    CHECK(!fs::exists(layout.blob(blob.digest)));
    CHECK(read_file(layout.recipe(blob.digest)) == recipe);
    CHECK(can_rebuild(store, blob.digest));
  }
  change(fixture, 9, content);
  CHECK(writer.rebuild(blob.digest).digest == blob.digest);
  check_blob(layout, blob);
}

TEST_CASE("recipes and index entries without a CRC of the tar are used and not changed") {
  const Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  const Written first = writer.write(fixture.split_into(12), gzip_fast);
  CHECK(read_recipe(store, first.layers[3].digest)->segments[0].tar_crc32);
  CHECK(find_segment(store, gzip_fast, fixture.infos[3])->segment.tar_crc32);
  const std::string library = gzip_fast.library();
  for (const fs::path& file : files_in(layout.state / "segments")) {
    std::string line = read_file(file);  // "<blob> <offset> <length> <tar length> <CRC> <CRC of the tar> libdeflate …"
    const std::size_t end = line.find(library) - 1, space = line.rfind(' ', end - 1);
    os::write_file(file, without_checksum(line.erase(space, end - space)), false);
  }
  for (const fs::path& file : files_in(layout.state / "recipes")) {
    std::string json = read_file(file);
    const std::size_t at = json.find(",\"tar_crc32\":");
    os::write_file(file, without_checksum(json.erase(at, json.find('}', at) - at)), false);
  }
  const auto known = find_segment(store, gzip_fast, fixture.infos[3]);
  REQUIRE(known);
  CHECK(!known->segment.tar_crc32);
  CHECK(known->segment.library == library);
  const Written regrouped = writer.write(fixture.split_into(5), gzip_fast);
  CHECK(regrouped.stats.compressed == 0);
  CHECK(!read_recipe(store, regrouped.layers[3].digest)->segments[0].tar_crc32);
  drop_index(layout);
  CHECK(rebuild_index(store) >= 5);
  CHECK(rebuild_index(store) == 0);
  CHECK(writer.write(fixture.split_into(2), gzip_fast).stats.compressed == 0);
}

TEST_CASE("an error in the middle of a layer leaves no blob and no partial file") {
  Fixture fixture;
  const tree::BlobStore& store = fixture.blobs("t");
  const tree::Layout layout = fixture.layout("t");
  Writer writer(store, fixture.options());
  fixture.store.file("broken", "a", noise(9'000'000, 5));
  const std::string fifo = (fixture.store.place("broken") / "b").string();
  REQUIRE(mkfifo(fifo.c_str(), 0644) == 0);
  const store::PathInfo broken = fixture.store.info("broken", 9'000'000);
  std::vector<Contents> layers = fixture.split_into(12);
  layers[6].paths.push_back(&broken);
  CHECK_THROWS_WITH_AS(writer.write(layers, gzip_fast), doctest::Contains(fifo.c_str()), Error);
  CHECK(files_below(layout.incoming()) == 0);
  CHECK(!find_layer(store, layer_key(gzip_fast, layers[6])));

  // The writer still works.
  layers[6].paths.pop_back();
  for (const LayerBlob& blob : writer.write(layers, gzip_fast).layers) check_blob(layout, blob);
}

TEST_CASE("an unwritable tree is an error, and no thread keeps waiting") {
  const Fixture fixture;
  tree::Layout layout = fixture.layout("t");
  fs::create_directories(layout.tree.parent_path());
  corrupt(layout.tree, "a file where the tree should be");
  Writer writer(fixture.blobs("t"), fixture.options());
  CHECK_THROWS_AS(writer.write(fixture.split_into(6), gzip_fast), Error);
}

TEST_CASE("two builds write at the same time, with one writer and with two") {
  const Fixture fixture;
  const tree::Layout layout = fixture.layout("t");
  Writer one(fixture.blobs("t"), fixture.options()), two(fixture.blobs("t"), fixture.options(3));
  std::vector<Written> written(4);
  {
    std::vector<std::jthread> builds;
    for (std::size_t i = 0; i < written.size(); ++i)
      builds.emplace_back(
          [&, i] { written[i] = (i % 2 ? one : two).write(fixture.split_into(i < 2 ? 3 : 5), gzip_fast); });
  }
  CHECK(digests(written[0]) == digests(written[1]));
  CHECK(digests(written[2]) == digests(written[3]));
  for (const Written& each : written)
    for (const LayerBlob& blob : each.layers) check_blob(layout, blob);
  CHECK(files_below(layout.incoming()) == 0);
}

TEST_CASE("two processes write into one tree") {
  const Fixture fixture;
  const tree::Layout layout = fixture.layout("t");
  std::vector<pid_t> children;
  for (std::size_t i = 0; i < 2; ++i) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      int code = 1;
      try {
        Writer writer(fixture.blobs("t"), fixture.options());
        writer.write(fixture.split_into(3 + i), gzip_fast);
        writer.write(fixture.split_into(6), gzip_fast);
        code = 0;
      } catch (...) {
      }
      _exit(code);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(status == 0);
  }
  Writer writer(fixture.blobs("t"), fixture.options());
  const Written written = writer.write(fixture.split_into(6), gzip_fast);
  CHECK(written.stats.layers_reused == 6);
  for (const LayerBlob& blob : written.layers) check_blob(layout, blob);
  CHECK(files_below(layout.incoming()) == 0);
}

TEST_CASE("a writer that cannot start all threads is an error, not an endless wait") {
  const Fixture fixture;
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(60);  // ends a wait
    // As a user without other processes, because the limit counts a user's threads and does not apply to root.
    const bool root = geteuid() == 0;
    if (root && setuid(54321) != 0) _exit(2);
    const rlimit few{root ? 4U : 1U, root ? 4U : 1U};
    if (setrlimit(RLIMIT_NPROC, &few) != 0) _exit(3);
    int code = 4;
    try {
      Writer writer(fixture.blobs("t"), fixture.options(16));
    } catch (const std::system_error&) {
      code = 0;
    } catch (...) {
    }
    _exit(code);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("progress counts up to all layers") {
  const Fixture fixture;
  Writer writer(fixture.blobs("t"), fixture.options());
  std::vector<WriteProgress> seen;
  const Written written =
      writer.write(fixture.split_into(4), gzip_fast, [&](const WriteProgress& progress) { seen.push_back(progress); });
  REQUIRE(!seen.empty());
  CHECK(seen.back().layers_done == 4);
  CHECK(seen.back().layers == 4);
  CHECK(seen.back().bytes_done == written.stats.tarred);
  for (std::size_t i = 1; i < seen.size(); ++i) CHECK(seen[i].bytes_done >= seen[i - 1].bytes_done);

  // About once per megabyte, even if nothing is compressed.
  seen.clear();
  const Written regrouped =
      writer.write(fixture.split_into(5), gzip_fast, [&](const WriteProgress& progress) { seen.push_back(progress); });
  CHECK(seen.back().bytes_done == regrouped.stats.tarred);
  CHECK(seen.size() <= regrouped.stats.tarred / 1'000'000 + 5 + 1);

  // Existing layers count: part of an image may have been prefetched.
  fs::remove(fixture.layout("t").blob(regrouped.layers[0].digest));
  const Written mixed =
      writer.write(fixture.split_into(5), gzip_fast, [&](const WriteProgress& progress) { seen.push_back(progress); });
  CHECK(mixed.stats.layers_reused == 4);
  CHECK(seen.back().bytes_done > regrouped.stats.tarred - regrouped.stats.tarred / 100);
}

TEST_CASE("memory is bounded on a machine of many cores with every compressor" * doctest::skip(sanitized)) {
  // All members at the same time: each thread's compressor uses 9 MiB here.
  constexpr std::size_t memory = 40 << 20, members = 24;
  const Encoding encoding{Encoding::Codec::gzip, Encoding::Level::small};
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const std::uint64_t before = peak_memory();
    ChunkPool pool(members);
    Compressors compressors(24, memory);
    const auto queue = std::make_shared<OrderedQueue>();
    for (std::size_t i = 0; i < members; ++i) {
      auto member = std::make_shared<OrderedQueue::Member>(OrderedQueue::Member{pool.take(), false, nullptr});
      member->chunk->size = member_size;
      noise(member_size, static_cast<unsigned>(i)).copy(member->chunk->data.get(), member_size);
      queue->push(member);
      compressors.submit(queue, std::move(member), encoding);
    }
    for (std::size_t i = 0; i < members; ++i) queue->pop();
    _exit(peak_memory() - before < memory + ((members + 8) << 20) ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
}
