// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC721} from "@openzeppelin/contracts/interfaces/IERC721.sol";
import {IERC4906} from "@openzeppelin/contracts/interfaces/IERC4906.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {ICounterfoilTickets} from "./ICounterfoilTickets.sol";
import {IERC5192} from "./IERC5192.sol";
import {Operations} from "./Operations.sol";
import {Reasons} from "./Reasons.sol";
import {EventWord, Slot} from "./Words.sol";

/// @title What is stored of events and tickets, and the one place where a ticket changes hands
/// @notice A ticket's id is its event's number, followed by 32 bits of its serial. It exists when its serial is below
/// the event's count of issued tickets. Until it leaves custody for a wallet nothing else is stored of it.
abstract contract Tickets is ICounterfoilTickets, IERC4906, IERC5192 {
    using SafeCast for bool;

    /// A transfer by a holder, beside the kinds of operations that change an owner.
    uint256 internal constant DIRECT = 0x00;

    struct Ticket {
        Slot slot;
        /// Holds only while the slot says so: it is left here when the owner changes.
        address approved;
    }

    /// One bit for each of 256 serials, found by the upper bits of their ids.
    struct Marks {
        /// Checked in or void. Most who ask need to know only that it is neither, so one word answers.
        uint256 spent;
        /// Of the spent: void, and not checked in.
        uint256 void_;
    }

    mapping(uint256 number => EventWord) internal _events;
    mapping(uint256 tokenId => Ticket) internal _tickets;
    mapping(uint256 wordKey => Marks) internal _marks;
    mapping(address wallet => uint256) internal _balances;

    // -- Changing hands -------------------------------------------------------

    // The four ways between custody and wallets: bit 1 when a ticket leaves a wallet, bit 0 when it comes to one.
    uint256 private constant STAYS = 0;
    uint256 private constant OUT = 1;
    uint256 private constant BACK = 2;
    uint256 private constant ACROSS = 3;

    /// Four bits for each kind, the lowest for DIRECT: the ways that begin at a place where this kind may begin.
    /// A delivery begins in custody, a holder's transfer in a wallet, and a move may only stay in custody.
    uint256 private constant PLACES = 0xf_d_3_0_0_c;

    /// In the same order, the ways that end where this kind may end: deliveries and holders' transfers need a wallet.
    uint256 private constant RECEIVERS = 0xf_f_a_0_0_a;

    /// Every rule first, then every write, for the mirror and for holders alike. `to` is 0 for custody. Calls nobody: a
    /// receiver that refuses, or that calls back, must not hold up the mirror, whose receivers have proved to the
    /// ledger that the wallet is theirs.
    function _change(
        uint256 kind,
        uint256 id,
        uint256 version,
        address to,
        uint256 price
    ) internal returns (uint256 reason, uint256 way) {
        EventWord rules = _events[id >> 32];
        Ticket storage ticket = _tickets[id];
        Slot slot = ticket.slot;
        address from = slot.owner();
        way = ((from != address(0)).toUint() << 1) | (to != address(0)).toUint();

        if (uint32(id) >= rules.issued()) return (_missing(rules), way);
        if (slot.version() != version) return (Reasons.WRONG_VERSION, way);
        if (!_allows(PLACES, kind, way)) return (Reasons.WRONG_PLACE, way);
        (bool isVoid, bool open) = _statusOf(rules, id);
        if (isVoid) return (Reasons.VOIDED, way);
        if (price > rules.priceCap()) return (Reasons.ABOVE_CAP, way);
        if (!_allows(RECEIVERS, kind, way)) return (Reasons.BAD_RECEIVER, way);
        if (to == address(this)) return (Reasons.BAD_RECEIVER, way);
        if (kind == DIRECT) {
            if (!open) return (Reasons.LOCKED, way);
        }

        _hand(ticket, slot, id, from, to, way, open);
        if (kind == Operations.RESALE) emit Resold(id, price, rules.royaltyFor(price));
    }

    function _allows(uint256 table, uint256 kind, uint256 way) private pure returns (bool) {
        return (table >> ((kind << 2) | way)) & 1 != 0;
    }

    /// A wallet's balance is the number of slots that name it. Every ticket begins in custody, and so locked: ERC-5192
    /// hears of the changes.
    function _hand(
        Ticket storage ticket,
        Slot slot,
        uint256 id,
        address from,
        address to,
        uint256 way,
        bool open
    ) private {
        // Among holders without wallets a ticket changes hands in the ledger alone.
        if (way != STAYS) ticket.slot = slot.next(to);
        unchecked {
            if (way == OUT) {
                ++_balances[to];
                emit Transfer(address(this), to, id);
                if (open) emit Unlocked(id);
            } else if (way == ACROSS) {
                --_balances[from];
                ++_balances[to];
                emit Transfer(from, to, id);
            } else if (way == BACK) {
                --_balances[from];
                emit Transfer(from, address(this), id);
                if (open) emit Locked(id);
            } else {
                emit Transfer(address(this), address(this), id);
            }
        }
    }

    // -- Reading --------------------------------------------------------------

    /// Why a ticket does not exist.
    function _missing(EventWord rules) internal pure returns (uint256) {
        return rules.known() ? Reasons.NOT_ISSUED : Reasons.UNKNOWN_EVENT;
    }

    /// Whether a ticket is void, by itself or with its event, and whether it may be transferred if it is not.
    function _statusOf(EventWord rules, uint256 id) internal view returns (bool isVoid, bool open) {
        isVoid = rules.cancelled();
        open = rules.opensTransfers();
        if (rules.marked()) {
            (bool checkedIn, bool voided) = _marksOf(rules, id);
            isVoid = isVoid || voided;
            open = open || checkedIn;
        }
    }

    function _marksOf(EventWord rules, uint256 id) internal view returns (bool checkedIn, bool isVoid) {
        if (!rules.marked()) return (false, false);
        Marks storage marks = _marks[id >> 8];
        uint256 bit = _bitOf(id);
        if (marks.spent & bit == 0) return (false, false);
        isVoid = marks.void_ & bit != 0;
        return (!isVoid, isVoid);
    }

    function _bitOf(uint256 id) internal pure returns (uint256) {
        return 1 << (id & 0xff);
    }

    /// Who owns it for the world to see.
    function _shown(address owner) internal view returns (address) {
        return owner == address(0) ? address(this) : owner;
    }

    /// @inheritdoc ICounterfoilTickets
    function custodian() public view returns (address) {
        return address(this);
    }

    /// @inheritdoc ICounterfoilTickets
    function eventOf(
        uint32 number
    ) external view returns (uint32 issued, uint40 endsAt, uint64 priceCap, uint16 royalty, uint8 flags) {
        EventWord rules = _events[number];
        return (uint32(rules.issued()), rules.endsAt(), rules.priceCap(), rules.royalty(), rules.flags());
    }

    /// @inheritdoc ICounterfoilTickets
    function state(uint256[] calldata ids) external view returns (uint256[] memory states) {
        states = new uint256[](ids.length);
        for (uint256 i = 0; i < ids.length; ++i) states[i] = _stateOf(ids[i]);
    }

    function _stateOf(uint256 id) private view returns (uint256 packed) {
        EventWord rules = _events[id >> 32];
        if (uint32(id) >= rules.issued()) return 0;
        Slot slot = _tickets[id].slot;
        (bool checkedIn, bool isVoid) = _marksOf(rules, id);
        packed = uint160(_shown(slot.owner())) | (slot.version() << 160) | (1 << 176);
        if (checkedIn) packed |= 1 << 177;
        if (isVoid || rules.cancelled()) packed |= 1 << 178;
        if (slot.owner() == address(0)) packed |= 1 << 179;
    }
}
