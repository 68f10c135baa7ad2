// The result of nix-instantiate for a resolution: the first byte is its exit status, the text up to a NUL its standard
// error, the rest its standard output. A fake program prints them, so everything from process to value is fuzzed; that
// takes some milliseconds per run.
#include <fstream>

#include "check.h"
#include "nix/nix.h"

using namespace nixery;
using fuzz::require;

namespace {

struct FakeNix {
  std::filesystem::path directory = fuzz::scratch_directory();

  FakeNix() {
    const auto program = directory / "nix-instantiate";
    write("nix-instantiate",
          "#!/bin/sh\ncd \"$FUZZ_DIRECTORY\" && cat error >&2 && cat output && exit \"$(cat status)\"\n");
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
    write("resolve.nix", "");
    setenv("FUZZ_DIRECTORY", directory.c_str(), 1);
    setenv("PATH", (directory.string() + ":/usr/bin:/bin").c_str(), 1);
  }
  void write(const char* name, std::string_view text) const {
    std::ofstream(directory / name, std::ios::binary) << text;
  }
};

void check(const nix::Package& package) {
  // Both become arguments of nix-store.
  const auto drv = store::StorePath::parse(package.drv_path);
  require(drv && package.drv_path.ends_with(".drv"), "a package has a derivation", package.drv_path);
  require(!package.outputs.empty(), "a package has an output", package.attribute);
  for (const nix::Output& output : package.outputs)
    require(!output.name.empty() && output.name.find_first_of(",!^ ") == std::string::npos, "an output has a name",
            output.name);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const FakeNix fake;
  if (size == 0) return 0;
  std::string_view output = fuzz::text_of(data + 1, size - 1);
  fake.write("error", fuzz::take_until(output, '\0'));
  fake.write("output", output);
  fake.write("status", data[0] == '0' ? "0" : data[0] == '1' ? "1" : "100");

  nix::NixSettings settings;
  settings.resolve_nix = fake.directory / "resolve.nix";
  const nix::PinnedSource source{fake.directory, {"0", "", false}};
  const std::vector<reference::AttributePath> names = {{"curl"}, {"python3packages.requests"}};
  try {
    const auto resolution = nix::resolve(settings, source, names, reference::platforms[0], {});
    require(resolution.packages.size() == names.size(), "as many packages as requested");
    for (const nix::Package& package : resolution.packages) check(package);
    if (resolution.cacert) check(*resolution.cacert);
  } catch (const Error& error) {
    require(fuzz::is_one_of(error.failure(),
                            {Failure::unknown_package, Failure::not_a_package, Failure::unsupported_platform,
                             Failure::unfree, Failure::insecure, Failure::broken, Failure::removed, Failure::forbidden,
                             Failure::evaluation_failed, Failure::timed_out, Failure::unavailable}),
            "errors are those in the header", error.what());
  }
  return 0;
}
