// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @title Packed words of storage: everything about an event, and everything about a ticket that has left custody
/// @dev Types of their own over uint256 rather than structs: a batch reads and writes each of them hundreds of times,
/// and one word is one load and one store whatever the compiler makes of it.

/// issued u32 | endsAt u40 | priceCap u64 | royalty u16 | flags u8 | known 1 bit | marked 1 bit, lowest first
type EventWord is uint256;

/// owner 160 bits | version u16 | approved 1 bit, lowest first. The owner is 0 in custody.
type Slot is uint256;

using EventWords for EventWord global;
using Slots for Slot global;

library EventWords {
    using SafeCast for bool;

    uint8 internal constant TRANSFERS_OPEN = 1;
    uint8 internal constant CANCELLED = 2;
    uint8 internal constant FLAGS = TRANSFERS_OPEN | CANCELLED;
    uint16 internal constant ROYALTY_MAX = 10_000; // basis points
    uint64 internal constant NO_CAP = type(uint64).max;

    uint256 private constant ISSUED = type(uint32).max;
    uint256 private constant RULES = uint256(type(uint128).max) << 32;
    uint256 private constant KNOWN = 1 << 160;
    uint256 private constant MARKED = 1 << 161;

    function issued(EventWord self) internal pure returns (uint256) {
        return EventWord.unwrap(self) & ISSUED;
    }

    function endsAt(EventWord self) internal pure returns (uint40) {
        return uint40(EventWord.unwrap(self) >> 32);
    }

    function priceCap(EventWord self) internal pure returns (uint64) {
        return uint64(EventWord.unwrap(self) >> 72);
    }

    function royalty(EventWord self) internal pure returns (uint16) {
        return uint16(EventWord.unwrap(self) >> 136);
    }

    function flags(EventWord self) internal pure returns (uint8) {
        return uint8(EventWord.unwrap(self) >> 152);
    }

    /// Whether it has been configured.
    function known(EventWord self) internal pure returns (bool) {
        return EventWord.unwrap(self) & KNOWN != 0;
    }

    /// Whether a ticket of it has been checked in or voided: before, nobody needs to read the bitmaps.
    function marked(EventWord self) internal pure returns (bool) {
        return EventWord.unwrap(self) & MARKED != 0;
    }

    function cancelled(EventWord self) internal pure returns (bool) {
        return flags(self) & CANCELLED != 0;
    }

    /// Whether holders may transfer tickets of it that are not checked in.
    function opensTransfers(EventWord self) internal view returns (bool) {
        // The end is an hour set months before: the seconds by which a validator can shift a block do not matter.
        return (flags(self) & TRANSFERS_OPEN) | (block.timestamp >= endsAt(self)).toUint() != 0;
    }

    function royaltyFor(EventWord self, uint256 price) internal pure returns (uint256) {
        return (price * royalty(self)) / ROYALTY_MAX;
    }

    function withIssued(EventWord self, uint256 issued_) internal pure returns (EventWord) {
        return EventWord.wrap((EventWord.unwrap(self) & ~ISSUED) | issued_);
    }

    function withRules(
        EventWord self,
        uint40 endsAt_,
        uint64 priceCap_,
        uint16 royalty_,
        uint8 flags_
    ) internal pure returns (EventWord) {
        uint256 rules = (uint256(endsAt_) << 32) |
            (uint256(priceCap_) << 72) |
            (uint256(royalty_) << 136) |
            (uint256(flags_) << 152);
        return EventWord.wrap((EventWord.unwrap(self) & ~RULES) | rules | KNOWN);
    }

    function withMarks(EventWord self) internal pure returns (EventWord) {
        return EventWord.wrap(EventWord.unwrap(self) | MARKED);
    }
}

library Slots {
    uint256 private constant APPROVED = 1 << 176;
    uint256 private constant VERSION = uint256(type(uint16).max) << 160;
    uint256 private constant HOLDERS_LEAP = 255; // after the 1 that every change counts

    /// 0 when in custody.
    function owner(Slot self) internal pure returns (address) {
        return address(uint160(Slot.unwrap(self)));
    }

    /// Counts the changes of owner, modulo 2^16: those of the mirror by 1, those of holders by 256.
    function version(Slot self) internal pure returns (uint256) {
        return uint16(Slot.unwrap(self) >> 160);
    }

    /// Whether the entry in the table of approvals holds: it is left there when the owner changes.
    function approved(Slot self) internal pure returns (bool) {
        return Slot.unwrap(self) & APPROVED != 0;
    }

    /// With the next version, and without an approval.
    function next(Slot self, address owner_) internal pure returns (Slot) {
        unchecked {
            return Slot.wrap(uint160(owner_) | (uint256(uint16(version(self) + 1)) << 160));
        }
    }

    /// After a holder's own transfer. Several changes of the mirror may be on their way when a holder is faster: were
    /// this one counted like them, the second of theirs would find the version that the first was to give.
    function leap(Slot self) internal pure returns (Slot) {
        unchecked {
            uint256 after_ = uint16(version(self) + HOLDERS_LEAP);
            return Slot.wrap((Slot.unwrap(self) & ~VERSION) | (after_ << 160));
        }
    }

    function withApproval(Slot self, bool approved_) internal pure returns (Slot) {
        uint256 bare = Slot.unwrap(self) & ~APPROVED;
        return Slot.wrap(approved_ ? bare | APPROVED : bare);
    }
}
