// A shared, immutable list of a layer's entries: a root file system may have several hundred thousand. Copies are cheap
// and can be read by several threads.
#pragma once

#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "layer/tar.h"

namespace nixery::layer {

class EntryList {
 public:
  EntryList() = default;
  EntryList(std::vector<Entry> entries) : entries_(std::make_shared<const std::vector<Entry>>(std::move(entries))) {}
  EntryList(std::initializer_list<Entry> entries) : EntryList(std::vector<Entry>(entries)) {}

  const std::vector<Entry>& get() const {
    static const std::vector<Entry> none;
    return entries_ ? *entries_ : none;
  }
  auto begin() const { return get().begin(); }
  auto end() const { return get().end(); }
  bool empty() const { return get().empty(); }
  std::size_t size() const { return get().size(); }
  const Entry& operator[](std::size_t i) const { return get()[i]; }

  bool operator==(const EntryList& other) const { return get() == other.get(); }

 private:
  std::shared_ptr<const std::vector<Entry>> entries_;
};

}  // namespace nixery::layer
