// Config, manifest and index as JSON bytes: OCI image-spec v1.1 (config.md, manifest.md, image-index.md) or Docker v2
// schema 2. Keys are in a fixed order and nothing depends on clock or host, so equal values give equal bytes.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "image/digest.h"
#include "image/media_type.h"

namespace nixery::image {

enum class Format { oci, docker };

using Annotations = std::map<std::string, std::string>;

struct PlatformName {
  std::string architecture, os, variant;  // "arm64", "linux", "v8"; variant may be empty
};

struct Descriptor {
  MediaType type;
  Digest digest;
  std::uint64_t size = 0;
  Annotations annotations;
  std::optional<PlatformName> platform;  // of an index's members
  std::string artifact_type = {};        // of referrers; may be empty
};

struct ConfigLayer {
  Digest diff_id;
  std::string created_by;  // what `docker history` shows
};

// Docker's extension of the config, as the field Shell below: of OCI's clients, only Docker reads them.
struct Healthcheck {
  std::vector<std::string> test;
  std::chrono::nanoseconds interval{0}, timeout{0}, start_period{0}, start_interval{0};  // 0: not written
  std::uint32_t retries = 0;                                                             // 0: not written
};

struct Config {
  PlatformName platform;
  std::string created;  // RFC 3339
  std::vector<std::string> env, cmd, entrypoint;
  std::string user, workdir;
  std::vector<std::string> exposed_ports;  // "80/tcp"
  std::vector<std::string> volumes;
  std::string stop_signal;
  std::vector<std::string> shell;
  std::optional<Healthcheck> healthcheck;
  Annotations labels;
  std::vector<ConfigLayer> layers;
};

struct Manifest {
  Format format = Format::oci;
  Descriptor config;
  std::vector<Descriptor> layers;
  Annotations annotations;  // OCI only
};

// An OCI image index or a Docker manifest list: one name for several manifests.
struct Index {
  Format format = Format::oci;
  std::vector<Descriptor> manifests;
  Annotations annotations;  // OCI only
};

// A blob that is described by its bytes, with a media type that may be any.
struct DescribedBlob {
  std::string_view media_type;
  std::string_view bytes;
  Annotations annotations;
};

// An OCI manifest of one layer that stands for a document (manifest.md, "Guidelines for Artifact Usage").
struct ArtifactManifest {
  std::string_view artifact_type;  // empty: none
  DescribedBlob config, layer;
  const Descriptor* subject = nullptr;
  Annotations annotations;
};

// The config of what needs none (manifest.md, "Guidance for an Empty Descriptor").
inline constexpr std::string_view empty_media_type = "application/vnd.oci.empty.v1+json";
inline constexpr std::string_view empty_config = "{}";

std::string to_json(const Config& config);
std::string to_json(const Manifest& manifest);
std::string to_json(const Index& index);
std::string to_json(const ArtifactManifest& manifest);
std::string to_json(const Descriptor& descriptor);

MediaType manifest_type(Format format);
MediaType index_type(Format format);
MediaType config_type(Format format);

}  // namespace nixery::image
