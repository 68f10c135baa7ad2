// How many images a namespace may have: the oldest ones count. Pure; every controller comes to the same.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kubernetes/nix_image.h"

namespace nixery::kubernetes {

// Not thread-safe.
class Quota {
 public:
  // Images of a namespace; 0: any number.
  explicit Quota(unsigned most) : most_(most) {}

  // Both return the keys of other images that have become too many by it, or no longer are.
  std::vector<std::string> add(const NixImage& image);
  std::vector<std::string> remove(const std::string& key);
  void clear();

  // Whether it is not among the oldest. Of those of one second the names decide.
  bool is_over(const std::string& key) const;
  unsigned most() const { return most_; }

 private:
  using Age = std::pair<std::string, std::string>;  // when it was created, and its key
  // The first that is too many; empty where none is.
  std::string first_over(const std::string& namespace_name) const;

  unsigned most_;
  std::map<std::string, std::set<Age>> namespaces_;
  std::map<std::string, std::string> created_;  // by key
};

}  // namespace nixery::kubernetes
